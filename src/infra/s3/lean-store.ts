/**
 * PutObject and UploadPart without the SDK's middleware: about a third of its CPU per request, and no second pass over
 * the bytes. Everything else is the SDK store's.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { LongshoreError } from '../../core/errors.js';
import { createBufferPool } from '../buffers.js';
import type { Logger } from '../telemetry/log.js';
import { createAddressing, encodeComponent } from './addressing.js';
import type { AdaptiveLimiter } from './aimd.js';
import { attributeHeaders, demandEncryption } from './attributes.js';
import type { CredentialSource } from './credentials.js';
import { keyHeaders } from './customer-keys.js';
import { createLeanHttp } from './lean-http.js';
import type { LeanAnswer } from './lean-http.js';
import {
  framed,
  framedLength,
  isFramed,
  isOnce,
  TRAILING_PAYLOAD,
  trailingHeaders,
  unframed,
} from './once.js';
import { ONCE_BUDGET, passingOn } from './once-store.js';
import { explainingResets } from './resets.js';
import { answerError, networkError, readErrorDocument, s3Name } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import { UNSIGNED_PAYLOAD, createSigner } from './sigv4.js';
import type { Body, ObjectStore, OnceBody, PartAnswer, PutAnswer, StoreConfig } from './store.js';

export interface LeanOptions {
  credentials: CredentialSource;
  limiter: AdaptiveLimiter;
  log?: Pick<Logger, 'warn'> | undefined;
}

interface Call extends CallSite {
  key: string;
  query: string;
  /** Lower-case names; signed. */
  headers: Record<string, string>;
  body: Body;
}

export function createLeanStore(
  config: StoreConfig,
  sdk: ObjectStore,
  { credentials, limiter, log }: LeanOptions,
): ObjectStore {
  const wire = createWire(config, credentials);
  const send = (call: Call, signal: AbortSignal) => limiter.run(() => wire.send(call, signal), signal);
  const store = explainingResets({
    ...sdk,
    async putObject(request, signal): Promise<PutAnswer> {
      if (!isPlainBucket(request.bucket)) return limiter.run(() => sdk.putObject(request, signal), signal);
      const site: CallSite = { op: 'PutObject', bucket: request.bucket, key: request.key };
      const headers = {
        ...attributeHeaders(site, request),
        ...keyHeaders(request),
        ...checksumHeader(request.crc32),
      };
      if (request.ifNoneMatch !== undefined) headers['if-none-match'] = request.ifNoneMatch;
      const answer = await send(
        { ...site, key: request.key, query: '', headers, body: request.body },
        signal,
      );
      demandEncryption(site, request.encryption, {
        algorithm: header(answer, 'x-amz-server-side-encryption'),
        kmsKeyId: header(answer, 'x-amz-server-side-encryption-aws-kms-key-id'),
        customerAlgorithm: header(answer, 'x-amz-server-side-encryption-customer-algorithm'),
        customerKeyMd5: header(answer, 'x-amz-server-side-encryption-customer-key-md5'),
      });
      const versionId = header(answer, 'x-amz-version-id');
      const answered = header(answer, 'x-amz-checksum-crc32');
      return {
        etag: etagOf(site, answer),
        ...(versionId === undefined ? {} : { versionId }),
        checksumAccepted: request.crc32 !== undefined && answered === request.crc32,
        ...(answered === undefined ? {} : { crc32: answered }),
      };
    },
    async uploadPart(request, signal): Promise<PartAnswer> {
      if (!isPlainBucket(request.bucket)) return limiter.run(() => sdk.uploadPart(request, signal), signal);
      const { bucket, key, body, crc32, partNumber, s3UploadId } = request;
      const site: CallSite = { op: 'UploadPart', bucket, key };
      const query = `partNumber=${partNumber}&uploadId=${encodeComponent(s3UploadId)}`;
      const headers = { ...keyHeaders(request), ...checksumHeader(crc32) };
      const answer = await send({ ...site, key, query, headers, body }, signal);
      const answered = header(answer, 'x-amz-checksum-crc32');
      return { etag: etagOf(site, answer), ...(answered === undefined ? {} : { crc32: answered }) };
    },
    close() {
      wire.close();
      sdk.close();
    },
  });
  return passingOn(store, createBufferPool(ONCE_BUDGET), { trusted: wire.trusted, log });
}

/** Access points and directory buckets have addresses and sessions of their own, which the SDK knows. */
function isPlainBucket(bucket: string): boolean {
  return !bucket.startsWith('arn:') && !bucket.endsWith('--x-s3');
}

function checksumHeader(crc32: string | undefined): Record<string, string> {
  return crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 };
}

function header(answer: LeanAnswer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function etagOf(site: CallSite, answer: LeanAnswer): string {
  const etag = header(answer, 'etag');
  if (etag !== undefined && etag !== '') return etag;
  throw answerError(site, { status: answer.status, message: 'the answer names no ETag' });
}

interface Wire {
  /** Bodies may pass unsigned. */
  readonly trusted: boolean;
  /** A success, or a LongshoreError; an abort gives the signal's reason. */
  send(call: Call, signal: AbortSignal): Promise<LeanAnswer>;
  close(): void;
}

function createWire(config: StoreConfig, credentials: CredentialSource): Wire {
  const addressing = createAddressing(config);
  const signer = createSigner(config.region);
  const http = createLeanHttp(config);
  let clockOffsetMs = 0;

  const once = async (call: Call, signal: AbortSignal, forceRefresh: boolean): Promise<LeanAnswer> => {
    const { origin, host, path } = addressing.of(call);
    const keys = await credentials(forceRefresh ? { forceRefresh } : {});
    const { payloadHash, length, framing } = isFramed(call.body)
      ? {
          payloadHash: TRAILING_PAYLOAD,
          length: framedLength(call.body.length),
          framing: trailingHeaders(call.body.length),
        }
      : {
          payloadHash: addressing.trusted || isOnce(call.body) ? UNSIGNED_PAYLOAD : await hashBody(call.body),
          length: call.body.length,
          framing: {},
        };
    signal.throwIfAborted();
    const now = new Date(Date.now() + clockOffsetMs);
    const signable = {
      method: 'PUT',
      path,
      query: call.query,
      headers: { ...call.headers, ...framing, host },
      payloadHash,
    };
    const headers = { ...signer(signable, keys, now), 'content-length': String(length) };
    const target = call.query === '' ? path : `${path}?${call.query}`;
    return exchange(call, (body) => http.put({ origin, path: target, headers, body }, signal), signal);
  };

  return {
    trusted: addressing.trusted,
    async send(call, signal) {
      let answer = await once(call, signal, false);
      let failure = failureOf(answer);
      if (failure?.code === 'RequestTimeTooSkewed' || failure?.code === 'RequestInTheFuture') {
        const theirs = Date.parse(header(answer, 'date') ?? '');
        if (!Number.isNaN(theirs)) clockOffsetMs = theirs - Date.now();
        mustBeRepeatable(call, 'the clock was wrong');
        answer = await once(call, signal, false);
        failure = failureOf(answer);
      } else if (failure?.code === 'ExpiredToken') {
        if (isOnce(call.body)) await credentials({ forceRefresh: true });
        mustBeRepeatable(call, 'the credentials had expired');
        answer = await once(call, signal, true);
        failure = failureOf(answer);
      }
      if (failure !== undefined) throw answerError(call, failure);
      return answer;
    },
    close: () => http.close(),
  };
}

/** What was wrong is right now, but the body is gone. */
function mustBeRepeatable(call: Call, what: string): void {
  if (!isOnce(call.body)) return;
  throw new LongshoreError('S3Unavailable', `${call.op} ${s3Name(call)}: ${what}; send it again`, {
    op: call.op,
    key: s3Name(call),
  });
}

/** Sends the body, and tells a failure of the body's own stream from one of the network. */
async function exchange(
  call: Call,
  put: (body: Buffer | Readable) => Promise<LeanAnswer>,
  signal: AbortSignal,
): Promise<LeanAnswer> {
  let broken: Error | undefined;
  const body = Buffer.isBuffer(call.body) ? call.body : streamOf(call.body);
  if (!Buffer.isBuffer(body)) body.once('error', (error) => (broken = error));
  try {
    return await put(body);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof LongshoreError) throw error;
    if (broken instanceof LongshoreError) throw broken;
    if ((error as NodeJS.ErrnoException).code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH') {
      const message = `${call.op} ${s3Name(call)}: the source ended at another length than ${call.body.length} bytes`;
      throw new LongshoreError('SourceChanged', message, { op: call.op, key: s3Name(call), cause: error });
    }
    // A body that comes only once names its own failures; any other is the connection's.
    if (broken !== undefined && broken === error && !isOnce(call.body)) {
      const message = `${call.op} ${s3Name(call)}: the source failed while it was sent (${broken.message})`;
      throw new LongshoreError('SourceUnavailable', message, {
        op: call.op,
        key: s3Name(call),
        cause: broken,
      });
    }
    throw networkError(call, error);
  }
}

function streamOf(body: Exclude<Body, Buffer>): Readable {
  if (!isOnce(body)) return body.open();
  return isFramed(body) ? framed(body) : unframed(body);
}

/** What a failed answer says; undefined for a success. A 200 may carry an error document too. */
function failureOf(
  answer: LeanAnswer,
): { status: number; code?: string | undefined; message?: string | undefined } | undefined {
  const document = answer.text === '' ? undefined : readErrorDocument(answer.text);
  if (answer.status >= 200 && answer.status < 300 && document === undefined) return undefined;
  return { status: answer.status, ...document };
}

async function hashBody(body: Exclude<Body, OnceBody>): Promise<string> {
  const hash = createHash('sha256');
  if (Buffer.isBuffer(body)) return hash.update(body).digest('hex');
  for await (const chunk of body.open()) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
