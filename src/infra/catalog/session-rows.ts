/** What is read of sessions: each joined with its row of object_uploads, which says how it ended. */
import type { FailureView } from '../../core/errors.js';
import { isTerminal, type UploadState } from '../../core/states.js';
import type { ClientSource, Encryption, Verification } from '../../core/uploads.js';
import { readPage, type Page, type PageAsk } from './paging.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { failureOrNull, numberOrNull, timeOrNull } from './values.js';

/** Sizes in bytes, times ISO 8601 in UTC. */
export interface SessionRow {
  id: string;
  nodeId: string;
  connectorId: string | null;
  name: string;
  contentType: string;
  /** As it is written to the object, the truth token excepted. */
  metadata: Record<string, string>;
  bucket: string;
  key: string;
  mode: ClientSource['mode'];
  chunkSize: number;
  /** null while unknown. */
  expectedSize: number | null;
  /** null in mode `whole`. */
  s3UploadId: string | null;
  generation: number;
  nonce: string;
  /** Chunks are taken; false while it is being completed, and once it has ended. */
  open: boolean;
  begun: boolean;
  encryption: Encryption | null;
  /** False: its multipart upload began without checksums, and parts bring none. */
  checksums: boolean;
  apiKey: string | null;
  touchedAt: string;
  /** Without another sign of its client it ends then. */
  expiresAt: string;
  ttlMs: number;
  createdAt: string;
  endedAt: string | null;

  // What its workflow reported
  state: UploadState;
  failure: FailureView | null;
  /** Bytes of the object, once it is COMPLETED. */
  size: number | null;
  parts: number | null;
  bytesSent: number | null;
  etag: string | null;
  versionId: string | null;
  /** `crc32:<base64>` */
  checksum: string | null;
  verification: Verification | null;
}

const READ = `
SELECT s.*, s.touched_at + s.ttl_ms * interval '1 millisecond' AS expires_at,
  CASE WHEN s.begun AND coalesce(u.state, 'PENDING') = 'PENDING' THEN 'UPLOADING' ELSE coalesce(u.state, 'PENDING') END AS state,
  CASE WHEN u.state = 'COMPLETED' THEN u.size END AS size, u.parts, u.bytes_sent, u.etag, u.version_id, u.checksum,
  u.verification, u.failure_code, u.failure_reason, u.failure_hint, u.failure_op, u.failure_key
FROM sessions s LEFT JOIN object_uploads u ON u.id = s.id`;

export async function getSession(db: Queryable, id: string): Promise<SessionRow | undefined> {
  const { rows } = await query<RawRow>(db, 'getSession', {
    name: 'get-session',
    text: `${READ} WHERE s.id = $1`,
    values: [id],
  });
  return rows[0] === undefined ? undefined : toRow(rows[0]);
}

export interface ListSessions extends PageAsk {
  state?: UploadState | undefined;
  connectorId?: string | undefined;
  bucket?: string | undefined;
  /** Of one API key alone. */
  apiKey?: string | undefined;
}

export type SessionPage = Page<SessionRow>;

/** Newest first. Throws InvalidInput for a bad cursor or limit. */
export async function listSessions(db: Queryable, ask: ListSessions): Promise<SessionPage> {
  const { state, connectorId, bucket, apiKey } = ask;
  const filters = { connector_id: connectorId, bucket, api_key: apiKey, state };
  // Few are alive, and an index has them.
  const also = state !== undefined && !isTerminal(state) ? ['ended_at IS NULL'] : [];
  const idOf = ({ id }: SessionRow): string => id;
  return await readPage(
    db,
    { op: 'listSessions', from: `(${READ}) AS seen`, filters, also, toRow, idOf },
    ask,
  );
}

/** As pg gives it: bigint as text, times as Date, jsonb parsed. */
interface RawRow {
  [column: string]: unknown;
}

function toRow(raw: RawRow): SessionRow {
  const text = (column: string) => raw[column] as string;
  const maybe = (column: string) => raw[column] as string | null;
  const time = (column: string) => (raw[column] as Date).toISOString();
  return {
    id: text('id'),
    nodeId: text('node_id'),
    connectorId: maybe('connector_id'),
    name: text('name'),
    contentType: text('content_type'),
    metadata: raw['metadata'] as Record<string, string>,
    bucket: text('bucket'),
    key: text('key'),
    mode: text('mode') as SessionRow['mode'],
    chunkSize: Number(raw['chunk_size']),
    expectedSize: numberOrNull(maybe('expected_size')),
    s3UploadId: maybe('s3_upload_id'),
    generation: Number(raw['generation']),
    nonce: text('nonce'),
    open: raw['open'] === true,
    begun: raw['begun'] === true,
    encryption: raw['encryption'] as Encryption | null,
    checksums: raw['checksums'] === true,
    apiKey: maybe('api_key'),
    touchedAt: time('touched_at'),
    expiresAt: time('expires_at'),
    ttlMs: Number(raw['ttl_ms']),
    createdAt: time('created_at'),
    endedAt: timeOrNull(raw['ended_at'] as Date | null),
    state: text('state') as UploadState,
    failure: failureOrNull(raw),
    size: numberOrNull(maybe('size')),
    parts: raw['parts'] as number | null,
    bytesSent: numberOrNull(maybe('bytes_sent')),
    etag: maybe('etag'),
    versionId: maybe('version_id'),
    checksum: maybe('checksum'),
    verification: maybe('verification') as Verification | null,
  };
}
