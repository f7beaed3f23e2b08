/** client-s3, set up for Longshore: time limits, no hidden checksums, and errors found in the body of a success. */
import { S3Client } from '@aws-sdk/client-s3';
import { LongshoreError } from '../../core/errors.js';
import type { CredentialSource } from './credentials.js';
import { answerError, readErrorDocument, sdkError } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import type { StoreConfig } from './store.js';
import { trustOf } from './trust.js';

type AnyMiddleware = Parameters<S3Client['middlewareStack']['addRelativeTo']>[0];
type Handler = (args: { input: object; request: unknown }) => Promise<{ response: unknown; output: object }>;

/** What each group of calls is built on. */
export interface SdkContext {
  client: S3Client;
  /** Runs one call; throws LongshoreError, or the signal's reason. */
  run: <T>(site: CallSite, signal: AbortSignal, call: () => Promise<T>) => Promise<T>;
}

export function createSdkClient(config: StoreConfig, credentials: CredentialSource): S3Client {
  const agent = { maxSockets: config.maxConnections, keepAlive: true };
  const client = new S3Client({
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    region: config.region,
    credentials,
    forcePathStyle: config.accelerate !== true && (config.forcePathStyle ?? config.endpoint !== undefined),
    useAccelerateEndpoint: config.accelerate === true,
    useDualstackEndpoint: config.dualStack === true,
    // Checksums that are sent unasked break several S3-compatible servers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It opens a fresh connection for each large body.
    expectContinueHeader: false,
    // Temporal's retry policy and retrying.ts repeat; a third loop would multiply them.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: config.connectTimeoutMs,
      // Counts from the last byte that moved, so a large copy or a slow line is not cut.
      socketTimeout: config.socketTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: { ...agent, ...trustOf(config) },
    },
  });
  refuseErrorsInSuccess(client);
  return client;
}

const LATE_ANSWERS = new Set([
  'CompleteMultipartUploadCommand',
  'CopyObjectCommand',
  'UploadPartCopyCommand',
]);

/**
 * S3 begins to answer long calls before it knows how they end, so a 200 may carry an error. The SDK sees that only when
 * the body ends in exactly `</Error>`.
 */
function refuseErrorsInSuccess(client: S3Client): void {
  const middleware =
    (next: Handler, context: Record<string, unknown>): Handler =>
    async (args) => {
      const result = await next(args);
      const response = result.response as { statusCode?: number; body?: unknown };
      const command = String(context['commandName']);
      if (!LATE_ANSWERS.has(command) || response.statusCode !== 200) return result;
      const bytes = await collect(response.body);
      response.body = bytes;
      const document = readErrorDocument(Buffer.from(bytes).toString('utf8'));
      if (document === undefined) return result;
      const { Bucket = '', Key } = args.input as { Bucket?: string; Key?: string };
      const site = { op: command.replace(/Command$/, ''), bucket: Bucket, key: Key };
      throw answerError(site, { status: 200, ...document });
    };
  const place = {
    name: 'refuseErrorsInSuccess',
    relation: 'after',
    toMiddleware: 'deserializerMiddleware',
  } as const;
  client.middlewareStack.addRelativeTo(middleware as AnyMiddleware, place);
}

async function collect(body: unknown): Promise<Uint8Array> {
  if (body === undefined || body === null) return new Uint8Array();
  if (body instanceof Uint8Array) return body;
  const chunks: Uint8Array[] = [];
  for await (const chunk of body as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * Runs one SDK call and maps what it throws. Two failures mend themselves and get a second go: a wrong clock, which the
 * SDK corrects by the server's Date, and a session token that ended before its time.
 */
export async function calling<T>(
  site: CallSite,
  signal: AbortSignal,
  credentials: CredentialSource,
  call: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  try {
    return await call().catch(async (error: unknown) => {
      if (signal.aborted) throw error;
      if (isExpiredToken(error)) await credentials({ forceRefresh: true });
      else if (!isClockCorrected(error)) throw error;
      return call();
    });
  } catch (error) {
    throw sdkError(site, error, signal);
  }
}

function isClockCorrected(error: unknown): boolean {
  return (
    (error as { $metadata?: { clockSkewCorrected?: boolean } } | undefined)?.$metadata?.clockSkewCorrected ===
    true
  );
}

function isExpiredToken(error: unknown): boolean {
  return error instanceof Error && error.name === 'ExpiredToken';
}

/** A success that lacks what it must carry is a failure under way; S3Unavailable, so it is tried again. */
export function required<T>(site: CallSite, name: string, value: T | undefined): T {
  if (value !== undefined && value !== '') return value;
  throw answerError(site, { status: 200, message: `the answer names no ${name}` });
}

export function hasCode(error: unknown, code: LongshoreError['code']): boolean {
  return error instanceof LongshoreError && error.code === code;
}
