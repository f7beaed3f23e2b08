/** What a store does with bodies that come only once: passes them on as they come, or holds them where it cannot. */
import { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { MAX_BUFFERED_PART, MiB } from '../../core/limits.js';
import type { BufferPool } from '../buffers.js';
import type { Logger } from '../telemetry/log.js';
import { crcToBase64, Intake, isOnce, noting } from './once.js';
import type { CallSite } from './s3-errors.js';
import type { Body, ObjectStore, OnceBody, PartAnswer, PutRequest } from './store.js';
import { NotTaken, Trailers } from './trailers.js';

/** Bytes that one store holds at once of bodies that it cannot pass on as they come. */
export const ONCE_BUDGET = 2 * MAX_BUFFERED_PART;

/** The store for bodies that come only once, each held until it is whole. */
export function buffering(store: ObjectStore, pool: BufferPool): ObjectStore {
  return {
    ...store,
    putObject: (request, signal) => held(request, pool, signal, (whole) => store.putObject(whole, signal)),
    uploadPart: (request, signal) => held(request, pool, signal, (whole) => store.uploadPart(whole, signal)),
  };
}

export interface PassingOn {
  /** They may pass unsigned. */
  trusted: boolean;
  log?: Pick<Logger, 'warn'> | undefined;
}

/** The store that passes such bodies on, and holds them once the server has shown that it does not know trailers. */
export function passingOn(store: ObjectStore, pool: BufferPool, { trusted, log }: PassingOn): ObjectStore {
  const whole = buffering(store, pool);
  const trailers = new Trailers(trusted ? 'unknown' : 'none');
  const trial: Trial = { store, trailers, log };

  /** An object that is there is not risked for finding out: what a server makes of frames is tried elsewhere. */
  const mayFrame = async (
    request: PutRequest,
    { length }: OnceBody,
    signal: AbortSignal,
  ): Promise<boolean> => {
    if (isOpen(trailers)) {
      if (length <= HELD_UNPROVED) return false;
      try {
        await prove(trial, request, signal);
      } catch (error) {
        // Who may put an object may not begin an upload, perhaps; what can be held needs no trial.
        if (length > MAX_BUFFERED_PART || signal.aborted) throw error;
        log?.warn(
          { err: error, bucket: request.bucket, key: request.key },
          'whether the S3 server takes trailers is not known',
        );
        return false;
      }
    }
    return trailers.standing === 'shown';
  };

  return {
    ...store,
    async putObject(request, signal) {
      const { body: once } = request;
      if (!isOnce(once) || !(await mayFrame(request, once, signal))) {
        return await whole.putObject(request, signal);
      }
      const { body, sent } = noting(once);
      const site: CallSite = { op: 'PutObject', bucket: request.bucket, key: request.key };
      const answer = await store.putObject({ ...request, body }, signal);
      const size = async (): Promise<number | undefined> => (await store.headObject(request, signal))?.size;
      await trailers.demand(site, { sent: sent(), answered: answer.crc32, length: body.length }, size);
      return { ...answer, checksumAccepted: answer.crc32 !== undefined };
    },
    async uploadPart(request, signal) {
      const { body } = request;
      if (!isOnce(body) || !trusted) return await whole.uploadPart(request, signal);
      if (body.plain === true) return await (mustStream(body) ? store : whole).uploadPart(request, signal);
      if (trailers.standing === 'doubted') await prove(trial, request, signal);
      if (trailers.standing === 'none') return await whole.uploadPart(request, signal);
      // A server that checks what follows a body checks what goes ahead of it.
      const { promised: crc32 } = body;
      if (crc32 !== undefined && trailers.checks) {
        const site: CallSite = { op: 'UploadPart', bucket: request.bucket, key: request.key };
        const plain = { ...request, body: { ...body, plain: true }, crc32 };
        return await trailers.promised(site, crc32, () => store.uploadPart(plain, signal));
      }
      return await framedPart(store, trailers, { ...request, body }, signal);
    },
  };
}

interface Trial extends Pick<PassingOn, 'log'> {
  store: ObjectStore;
  trailers: Trailers;
}

/** With a part of one byte, of an upload that is aborted: nothing at the key is touched. */
async function prove({ store, trailers, log }: Trial, request: Provable, signal: AbortSignal): Promise<void> {
  const { bucket, key, encryption, customerKey } = request;
  const at = { bucket, key, ...(customerKey === undefined ? {} : { customerKey }) };
  const asked = { ...at, ...(encryption === undefined ? {} : { encryption }), checksum: true };
  const part = { ...at, ...(await store.createMultipartUpload(asked, signal)), partNumber: 1 };
  try {
    const once = { length: PROBE.length, once: Readable.from([PROBE], { objectMode: false }) };
    await framedPart(store, trailers, { ...part, body: once }, signal);
  } catch (error) {
    if (!(error instanceof NotTaken) || trailers.standing === 'shown') throw error;
    const body = { body: PROBE, crc32: crcToBase64(crc32(PROBE)) };
    if (trailers.standing === 'doubted') {
      await trailers.without(() => store.uploadPart({ ...part, ...body }, signal));
    }
  } finally {
    await store.abortMultipartUpload(part, AbortSignal.timeout(ABORT_MS)).catch((error: unknown) => {
      // It says nothing of the body, which is still whole. The sweep knows such an upload.
      log?.warn({ err: error, bucket, key }, 'a multipart upload by which the S3 server was tried is left');
    });
  }
}

async function framedPart(
  store: ObjectStore,
  trailers: Trailers,
  request: UploadPartRequest & { body: OnceBody },
  signal: AbortSignal,
): Promise<PartAnswer> {
  const { body, sent } = noting(request.body);
  const site: CallSite = { op: 'UploadPart', bucket: request.bucket, key: request.key };
  const size = async (): Promise<number | undefined> => {
    const [part] = await store.listParts({ ...request, after: request.partNumber - 1, max: 1 }, signal);
    return part?.partNumber === request.partNumber ? part.size : undefined;
  };
  const call = (): Promise<PartAnswer> => store.uploadPart({ ...request, body }, signal);
  return await trailers.part(site, body.length, call, { sent, size });
}

type UploadPartRequest = Parameters<ObjectStore['uploadPart']>[0];
type Provable = Pick<PutRequest, 'bucket' | 'key' | 'encryption' | 'customerKey'>;

const PROBE = Buffer.from('?');
const ABORT_MS = 30_000;
/** So few bytes are held rather than that it is found out whether they need to be. */
const HELD_UNPROVED = MiB;

function isOpen({ standing }: Trailers): boolean {
  return standing === 'unknown' || standing === 'doubted';
}

/**
 * Without a trailer versitygw takes what broke off for the part, so such bodies are held as long as they fit. One that does
 * not is passed on: a part that it leaves is not the one in the catalog, and is asked for again.
 */
function mustStream({ length }: OnceBody): boolean {
  return length > MAX_BUFFERED_PART;
}

async function held<T extends { body: Body; crc32?: string }, A>(
  request: T,
  pool: BufferPool,
  signal: AbortSignal,
  send: (whole: T) => Promise<A>,
): Promise<A> {
  if (!isOnce(request.body)) return await send(request);
  const { buffer, crc32 } = await collect(request.body, pool, signal);
  try {
    return await send({ ...request, body: buffer, ...(request.body.plain === true ? {} : { crc32 }) });
  } finally {
    pool.release(buffer);
  }
}

/**
 * The body in a buffer of the pool, for servers that take no trailers and lines that somebody may listen to. The caller
 * releases the buffer. Throws NotSupported for what is too large to be held.
 */
async function collect(
  body: OnceBody,
  pool: BufferPool,
  signal: AbortSignal,
): Promise<{ buffer: Buffer; crc32: string }> {
  if (body.length > MAX_BUFFERED_PART) {
    throw new LongshoreError(
      'NotSupported',
      `${body.length} bytes in one body, and the S3 server takes no checksum after it: at most ${MAX_BUFFERED_PART} are held`,
      { op: 'receive', hint: 'Send smaller chunks, or reach the S3 server over TLS.' },
    );
  }
  const buffer = await pool.acquire(body.length, signal);
  try {
    return { buffer, crc32: await fill(body, buffer, signal) };
  } catch (error) {
    pool.release(buffer);
    throw error;
  }
}

function fill(body: OnceBody, buffer: Buffer, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const onAbort = (): void => {
      intake.stop();
      reject(signal.reason as Error);
    };
    const intake = new Intake(
      body,
      (piece) => {
        at += piece.copy(buffer, at);
        return true;
      },
      (error) => {
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve(crcToBase64(intake.crc));
        else reject(error);
      },
    );
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    intake.resume();
  });
}
