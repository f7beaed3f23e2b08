/** What every way of sending an object through the API stands on: chunks, presigned parts, tus and Uppy's endpoints. */
import type { Readable } from 'node:stream';
import type { ApiKey } from '../../infra/catalog/api-keys.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { ChunkAdvice, CompleteAsk } from '../../core/sessions.js';
import type { UploadResult } from '../../core/uploads.js';

/** Who asks; null: nobody has to say who they are, and nobody did. */
export interface Caller {
  apiKey: ApiKey | null;
  /** The connection is TLS or loopback: customers' keys may come over it. */
  trusted: boolean;
}

export type AskedEncryption =
  | { type: 'SSE_S3' }
  | { type: 'SSE_KMS'; kmsKeyId?: string | undefined }
  /** 32 bytes, and the MD5 of the key, base64. */
  | { type: 'SSE_C'; key: Buffer; keyMd5: string };

export interface SessionAsk {
  /** Chosen by the caller, or derived from an Idempotency-Key; made otherwise. */
  id?: string | undefined;
  name: string;
  connectorId?: string | undefined;
  /** An object that is there already: this is its next version. */
  nodeId?: string | undefined;
  /** Default: what configuration says, or `connectors/{connector_id}/{node_id}.pb`. */
  bucket?: string | undefined;
  key?: string | undefined;
  contentType?: string | undefined;
  /** Bytes; undefined while unknown. */
  size?: number | undefined;
  chunkSize?: number | undefined;
  metadata?: Record<string, string> | undefined;
  tags?: Record<string, string> | undefined;
  encryption?: AskedEncryption | undefined;
  ifNoneMatch?: '*' | undefined;
  /** Default true. False for parts that are sent straight to S3 without one: an upload that asks for them refuses those. */
  checksum?: boolean | undefined;
  ttlMs?: number | undefined;
  /** Default `chunks`. */
  mode?: 'chunks' | 'whole' | undefined;
}

/** base64, as the client gave them; each is compared with what came. */
export interface BodyChecks {
  crc32?: string;
  crc32c?: string;
  md5?: string;
  sha1?: string;
  sha256?: string;
  sha512?: string;
}

export interface ChunkRequest {
  /** From 1. */
  partNumber: number;
  /** Bytes that `body` has. */
  length: number;
  body: Readable | Buffer;
  checks?: BodyChecks | undefined;
}

export interface ChunkReceipt {
  partNumber: number;
  size: number;
  etag: string;
  /** base64 */
  crc32: string;
}

/** A whole object, and what its row does not say. */
export interface WholeRequest extends Omit<ChunkRequest, 'partNumber'> {
  tags?: Record<string, string> | undefined;
  ifNoneMatch?: '*' | undefined;
}

export interface SessionService {
  /** Answers once chunks are taken. The same id and ask again is the same session; another ask is a Conflict. */
  begin(caller: Caller, ask: SessionAsk): Promise<{ row: SessionRow; advice: ChunkAdvice; fresh: boolean }>;
  /** Throws NotFound, also for what the caller may not see. */
  find(caller: Caller, id: string): Promise<SessionRow>;
  /**
   * Answers once the part is in S3 and its row is written. Throws WrongChunkSize, ChunkDamaged, ChunkSuperseded, NotRunning,
   * SessionExpired, LengthRequired.
   */
  receive(caller: Caller, row: SessionRow, chunk: ChunkRequest, signal: AbortSignal): Promise<ChunkReceipt>;
  /** The client is alive: its session lives on. Not written more often than needed. */
  touch(row: SessionRow): Promise<void>;
  /** One PutObject of a whole object, for sessions of mode `whole`; then completed. */
  put(caller: Caller, row: SessionRow, whole: WholeRequest, signal: AbortSignal): Promise<UploadResult>;
  /** Idempotent. Throws PartsMissing (its cause is the `Incomplete`), SizeMismatch, VerificationFailed. */
  complete(caller: Caller, id: string, ask: CompleteAsk): Promise<UploadResult>;
  /** Throws AlreadyCompleted when it is too late. */
  cancel(caller: Caller, id: string): Promise<void>;
}
