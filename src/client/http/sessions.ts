/**
 * The sessions of the REST API, typed. Every call may be repeated, and is while the API is away; `begin` for that needs an
 * id. Names are ours; the API's own are only here.
 */
import * as z from 'zod';
import { isErrorCode, LongshoreError, type FailureView } from '../../core/errors.js';
import { chunkCount } from '../../core/sessions.js';
import { UPLOAD_STATES } from '../../core/states.js';
import { VERIFICATION_LEVELS, type UploadResult } from '../../core/uploads.js';
import { ApiTransport, isPrivate, type Body, type TransportOptions } from './transport.js';

/** First and last chunk of a run, from 0, both included. */
export type ChunkRange = readonly [number, number];

const Ranges = z.array(z.tuple([z.int(), z.int()]));
const Chunks = z.object({ count: z.int(), ranges: Ranges });
const nullable = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? null);

const View = z
  .object({
    upload_id: z.string(),
    node_id: z.string(),
    connector_id: nullable(z.string()),
    name: z.string(),
    state: z.enum(UPLOAD_STATES),
    bucket: z.string(),
    key: z.string(),
    content_type: nullable(z.string()),
    metadata: z.record(z.string(), z.string()).default({}),
    mode: z.string().default('chunks'),
    chunk_size: z.int(),
    expected_size: nullable(z.int()),
    size: nullable(z.int()),
    received_bytes: z.int().default(0),
    received: Chunks.default({ count: 0, ranges: [] }),
    missing: nullable(Chunks),
    etag: nullable(z.string()),
    version_id: nullable(z.string()),
    checksum: nullable(z.string()),
    verification: nullable(z.enum(VERIFICATION_LEVELS)),
    generation: z.int().default(1),
    location: nullable(z.string()),
    created_at: z.string(),
    expires_at: nullable(z.string()),
    completed_at: nullable(z.string()),
    error_code: nullable(z.string()),
    error_message: nullable(z.string()),
    web_ui: nullable(z.string()),
  })
  .transform((view) => ({
    ...{ id: view.upload_id, nodeId: view.node_id, connectorId: view.connector_id, name: view.name },
    ...{ state: view.state, bucket: view.bucket, key: view.key, contentType: view.content_type },
    ...{ metadata: view.metadata, mode: view.mode, chunkSize: view.chunk_size },
    ...{ expectedSize: view.expected_size, size: view.size, receivedBytes: view.received_bytes },
    ...{ received: view.received, missing: view.missing, etag: view.etag, versionId: view.version_id },
    ...{ checksum: view.checksum, verification: view.verification, generation: view.generation },
    ...{ location: view.location, createdAt: view.created_at, expiresAt: view.expires_at },
    ...{ completedAt: view.completed_at, errorCode: view.error_code, errorMessage: view.error_message },
    webUi: view.web_ui,
  }));

const List = z
  .object({ sessions: z.array(View), next_cursor: nullable(z.string()) })
  .transform(({ sessions, next_cursor }) => ({ sessions, nextCursor: next_cursor }));
const Receipt = z.object({ etag: z.string() });

/** A session as the API shows it; what is not known is null. Sizes in bytes, times ISO 8601. */
export type HttpSession = z.infer<typeof View>;

export type AskedEncryption =
  | { type: 'SSE_S3' }
  | { type: 'SSE_KMS'; kmsKeyId?: string }
  /** 32 bytes, and their MD5 in base64. */
  | { type: 'SSE_C'; key: Buffer; md5: string };

export interface BeginAsk {
  id: string;
  name: string;
  bucket: string;
  key: string;
  connectorId?: string | undefined;
  contentType?: string | undefined;
  /** Bytes; undefined while unknown. */
  size?: number | undefined;
  chunkSize?: number | undefined;
  metadata?: Record<string, string> | undefined;
  tags?: Record<string, string> | undefined;
  encryption?: AskedEncryption | undefined;
  ifNoneMatch?: '*' | undefined;
}

export interface ChunkBody {
  /** Made anew for each try. */
  make: () => Body;
  /** Bytes. */
  length: number;
  crc32: number;
}

export interface CompleteCall {
  chunks: number;
  /** Bytes. */
  size: number;
  /** Of the whole object. */
  crc32?: number | undefined;
}

export interface ListAsk {
  state?: string | undefined;
  connectorId?: string | undefined;
  bucket?: string | undefined;
  limit?: number | undefined;
  cursor?: string | undefined;
}

const BASE = '/api/v1/sessions/';

/** Throws LongshoreErrors with the codes of the API, ApiUnavailable, or the signal's reason. */
export class HttpSessions {
  readonly #transport: ApiTransport;

  constructor(private readonly options: TransportOptions) {
    this.#transport = new ApiTransport(options);
  }

  async close(): Promise<void> {
    await this.#transport.close();
  }

  /**
   * The same id and ask again is the same session; another ask is a Conflict. Answers once chunks are taken. Throws
   * InsecureTransport instead of sending a customer's key where others could read it.
   */
  async begin(ask: BeginAsk, signal: AbortSignal): Promise<HttpSession> {
    const { url } = this.options;
    if (ask.encryption?.type === 'SSE_C' && !isPrivate(url)) {
      throw new LongshoreError('InsecureTransport', `a customer’s key was to go to ${url} in the clear`, {
        op: 'begin',
        key: ask.id,
      });
    }
    const body = {
      ...{ upload_id: ask.id, name: ask.name, bucket: ask.bucket, key: ask.key },
      ...{ connector_id: ask.connectorId, content_type: ask.contentType, expected_size: ask.size },
      ...{ chunk_size: ask.chunkSize, metadata: ask.metadata, tags: ask.tags },
      ...{ encryption: encryptionOf(ask.encryption), if_none_match: ask.ifNoneMatch },
    };
    return read(View, await this.#json('POST', BASE, body, signal));
  }

  /** Throws NotFound. */
  async get(id: string, signal: AbortSignal): Promise<HttpSession> {
    return read(View, await this.#transport.send({ method: 'GET', path: at(id), signal }));
  }

  /** Newest first. */
  async list(
    ask: ListAsk,
    signal: AbortSignal,
  ): Promise<{ sessions: HttpSession[]; nextCursor: string | null }> {
    const query = queryOf({ ...ask, connector_id: ask.connectorId, connectorId: undefined });
    return read(List, await this.#transport.send({ method: 'GET', path: BASE + query, signal }));
  }

  /** `chunk` from 0. Resolves once the bytes are in S3 and written down. */
  async send(id: string, chunk: number, body: ChunkBody, signal: AbortSignal): Promise<{ etag: string }> {
    const answer = await this.#transport.send({
      method: 'PUT',
      path: `${at(id)}/chunks/${chunk}`,
      headers: {
        'content-type': 'application/octet-stream',
        'x-amz-checksum-crc32': base64Crc32(body.crc32),
      },
      body: body.make,
      length: body.length,
      signal,
    });
    return read(Receipt, answer);
  }

  /** Idempotent. Throws PartsMissing, SizeMismatch, VerificationFailed. */
  async complete(id: string, call: CompleteCall, signal: AbortSignal): Promise<HttpSession> {
    const { chunks, size, crc32 } = call;
    const checksum = crc32 === undefined ? undefined : `crc32:${base64Crc32(crc32)}`;
    return read(View, await this.#json('POST', `${at(id)}/complete`, { chunks, size, checksum }, signal));
  }

  /** Nothing of it is left afterwards. Throws AlreadyCompleted when it is too late. */
  async cancel(id: string, signal: AbortSignal): Promise<void> {
    await this.#json('POST', `${at(id)}/cancel`, undefined, signal);
  }

  async #json(method: 'POST', path: string, body: object | undefined, signal: AbortSignal): Promise<unknown> {
    if (body === undefined) return await this.#transport.send({ method, path, signal });
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/json' };
    return await this.#transport.send({ method, path, headers, body: () => text, signal });
  }
}

/** What a session that has not been completed failed with; undefined while it may still be. */
export function failureOf({ state, errorCode, errorMessage }: HttpSession): FailureView | undefined {
  if (errorCode === null && errorMessage === null) return undefined;
  const code = isErrorCode(errorCode) ? errorCode : state === 'EXPIRED' ? 'SessionExpired' : 'Internal';
  const { message, op, hint } = new LongshoreError(code, errorMessage ?? code, { op: 'session' });
  return { code, message, op, hint };
}

/** Of a session that is COMPLETED. */
export function resultOf(session: HttpSession, bytesSent: number): UploadResult {
  const { bucket, key, expectedSize, etag, versionId, checksum, verification, mode, chunkSize } = session;
  const size = session.size ?? expectedSize ?? session.receivedBytes;
  return {
    ...{ bucket, key, size, etag: etag ?? '' },
    ...(versionId === null ? {} : { versionId }),
    ...(checksum === null ? {} : { checksum }),
    ...{ verification: verification ?? 'size', bytesSent },
    parts: mode === 'whole' ? 1 : chunkCount(size, chunkSize),
    generations: session.generation,
  };
}

/** Big-endian, as S3 has it. */
export function base64Crc32(value: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString('base64');
}

function encryptionOf(encryption: BeginAsk['encryption']): object | undefined {
  switch (encryption?.type) {
    case 'SSE_KMS':
      return { type: 'SSE_KMS', kms_key_id: encryption.kmsKeyId };
    case 'SSE_C': {
      const { type, key, md5 } = encryption;
      return { type, customer_key_b64: key.toString('base64'), customer_key_md5: md5 };
    }
    default:
      return encryption;
  }
}

function at(id: string): string {
  return BASE + encodeURIComponent(id);
}

function queryOf(values: Record<string, string | number | undefined>): string {
  const given = Object.entries(values).filter(
    (pair): pair is [string, string | number] => pair[1] !== undefined,
  );
  const query = new URLSearchParams(
    given.map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();
  return query === '' ? '' : `?${query}`;
}

function read<T>(schema: z.ZodType<T>, answer: unknown): T {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  const where = result.error.issues.map(({ path }) => path.join('.')).join(', ');
  throw new LongshoreError(
    'InvalidConfig',
    `the API answers otherwise than this release knows it: ${where}`,
    {
      op: 'request',
      hint: 'Check --api (LONGSHORE_API_URL), and that both are of the same release.',
    },
  );
}
