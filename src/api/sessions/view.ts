/** A session as answers show it. */
import type * as z from 'zod';
import { chunkCount, type ChunkAdvice } from '../../core/sessions.js';
import { isTerminal } from '../../core/states.js';
import { uploadWorkflowId } from '../../core/ids.js';
import type { Queryable } from '../../infra/catalog/pool.js';
import { sessionProgress } from '../../infra/catalog/session-parts.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { Config } from '../../infra/config.js';
import type { SessionView } from '../schemas/sessions.js';
import { webUi } from '../views.js';
import { adviceFor } from './ask.js';
import { gapsOf, partsThere, rangesOf, type ChunkRanges } from './missing.js';

interface Progress {
  received: ChunkRanges;
  bytes: number;
}

/** The parts of one that has ended are forgotten, for then the object says it all. */
export async function progressOf(db: Queryable, row: SessionRow): Promise<Progress> {
  if (row.state === 'COMPLETED') {
    const count = row.parts ?? 0;
    return { received: { count, ranges: count === 0 ? [] : [[0, count - 1]] }, bytes: row.size ?? 0 };
  }
  if (row.mode !== 'chunks' || isTerminal(row.state)) return { received: { count: 0, ranges: [] }, bytes: 0 };
  const parts = await partsThere(db, row);
  return {
    received: rangesOf(parts.map(({ partNumber }) => partNumber - 1)),
    bytes: parts.reduce((sum, { partNumber, size }) => sum + (size ?? lengthOf(row, partNumber)), 0),
  };
}

/** Only how many and how much: a list of sessions does not read the parts of all of them. */
export async function countsOf(db: Queryable, row: SessionRow): Promise<Progress> {
  if (row.mode !== 'chunks' || isTerminal(row.state)) return await progressOf(db, row);
  const { parts, bytes } = await sessionProgress(db, row.id, row.generation);
  return { received: { count: parts, ranges: [] }, bytes };
}

/** Of a part that did not pass through us. */
function lengthOf({ chunkSize, expectedSize }: SessionRow, partNumber: number): number {
  if (expectedSize === null) return 0;
  return Math.max(0, Math.min(chunkSize, expectedSize - (partNumber - 1) * chunkSize));
}

export function sessionView(
  row: SessionRow,
  { received, bytes }: Progress,
  config: Config,
): z.infer<typeof SessionView> {
  const ended = isTerminal(row.state);
  const complete = row.state === 'COMPLETED';
  return {
    ...{ upload_id: row.id, node_id: row.nodeId, state: row.state, name: row.name },
    ...{ connector_id: row.connectorId, content_type: row.contentType, metadata: row.metadata },
    ...{ bucket: row.bucket, key: row.key, mode: row.mode },
    ...{ expected_size: row.expectedSize, chunk_size: row.chunkSize },
    ...adviceView(adviceFor(config, row.expectedSize, row.chunkSize)),
    ...{ generation: row.generation, received, received_bytes: bytes },
    missing: missingOf(row, received, ended),
    size: row.size,
    location: complete ? `s3://${row.bucket}/${row.key}` : null,
    ...{ etag: row.etag, version_id: row.versionId, checksum: row.checksum, verification: row.verification },
    encryption: encryptionView(row),
    ...errorOf(row),
    ...{ created_at: row.createdAt, touched_at: row.touchedAt },
    expires_at: ended ? null : row.expiresAt,
    completed_at: complete ? row.endedAt : null,
    ended_at: row.endedAt,
    web_ui: webUi(config, uploadWorkflowId(row.id)),
  };
}

function missingOf(
  { mode, expectedSize, chunkSize }: SessionRow,
  received: ChunkRanges,
  ended: boolean,
): ChunkRanges | null {
  if (ended) return { count: 0, ranges: [] };
  if (mode !== 'chunks' || expectedSize === null) return null;
  const total = chunkCount(expectedSize, chunkSize);
  if (received.count > 0 && received.ranges.length === 0)
    return { count: Math.max(0, total - received.count), ranges: [] };
  return gapsOf(received, total);
}

/** As the coordination service names them. */
function adviceView({ recommendedChunkSize, minChunkSize, maxChunkSize, maxChunks }: ChunkAdvice) {
  return {
    recommended_chunk_size: recommendedChunkSize,
    min_chunk_size: minChunkSize,
    max_chunk_size: maxChunkSize,
    max_chunks: maxChunks,
  };
}

/** A customer's key is told by its MD5. */
function encryptionView({ encryption }: SessionRow) {
  if (encryption === null) return null;
  return {
    type: encryption.type,
    kms_key_id: encryption.type === 'SSE_KMS' ? (encryption.kmsKeyId ?? null) : null,
    customer_key_md5: encryption.type === 'SSE_C' ? encryption.keyMd5 : null,
  };
}

function errorOf({ state, failure }: SessionRow) {
  if (failure !== null) return { error_code: failure.code, error_message: failure.message };
  if (state === 'EXPIRED') return { error_code: 'SessionExpired', error_message: 'nobody came back in time' };
  if (state === 'CANCELLED') return { error_code: 'Cancelled', error_message: 'it was cancelled' };
  return { error_code: null, error_message: null };
}
