/** The table of sessions: what each takes now and how it was begun. How it ended is in its row of object_uploads. */
import { LongshoreError } from '../../core/errors.js';
import type { SessionOpening } from '../../core/sessions.js';
import { isTerminal, type UploadState } from '../../core/states.js';
import type { TruthToken } from '../../core/upload-steps.js';
import type { ClientSource, Destination, Encryption } from '../../core/uploads.js';
import { query, transaction } from './pool.js';
import type { Pool, PoolClient, Queryable } from './pool.js';
import { printable } from './values.js';

export { getSession, listSessions } from './session-rows.js';
export type { ListSessions, SessionPage, SessionRow } from './session-rows.js';

export interface OpeningSession {
  id: string;
  source: ClientSource;
  destination: Destination;
  contentType: string;
  metadata: Record<string, string>;
  chunkSize: number;
  expectedSize: number | null;
  encryption: Encryption | null;
  /** Parts bring checksums; default true. */
  checksums?: boolean;
  apiKey: string | null;
  /** null in mode `whole`. */
  s3UploadId: string | null;
  token: TruthToken;
  runId: string;
  /** Start of the workflow's run, ISO 8601; with `runGeneration` it orders openings. */
  runStartedAt: string;
  /** How manieth multipart upload of that run this is. */
  runGeneration: number;
}

/**
 * From here on chunks of this generation are taken, and none of an earlier one. Repeating it changes nothing. Throws
 * AttemptFenced when a later opening was here already, Conflict when the node is an object at another key.
 */
export async function openSession(db: Pool, opening: OpeningSession): Promise<SessionOpening> {
  return await transaction(db, 'openSession', async (tx) => {
    await mustRun(tx, opening);
    await registerNode(tx, opening);
    const before = await standing(tx, opening);
    if (before?.nonce === opening.token.nonce) {
      return { generation: before.generation, s3UploadId: before.s3UploadId };
    }
    if (before?.overtaken === true) {
      throw new LongshoreError('AttemptFenced', 'the session was opened anew meanwhile', {
        op: 'openSession',
        key: opening.id,
      });
    }
    const generation = (before?.generation ?? 0) + 1;
    await write(tx, opening, generation);
    if (before !== undefined) await forgetParts(tx, opening.id);
    return { generation, s3UploadId: opening.s3UploadId };
  });
}

/** A multipart upload as whoever began it wrote it down: with this token, or by this report. */
export interface WrittenUpload {
  id: string;
  token: TruthToken;
  runId: string;
  sequence: number;
}

/** The multipart upload that was begun with this token, as far as an attempt came to write it down. */
export async function writtenUpload(
  db: Queryable,
  { id, token, runId, sequence }: WrittenUpload,
): Promise<string | undefined> {
  const { rows } = await query<{ s3_upload_id: string }>(db, 'writtenUpload', {
    name: 'written-upload',
    text: `SELECT s3_upload_id FROM sessions WHERE id = $1 AND nonce = $2 AND s3_upload_id IS NOT NULL
           UNION ALL
           SELECT s3_upload_id FROM object_uploads
            WHERE id = $1 AND run_id = $3 AND sequence = $4 AND s3_upload_id IS NOT NULL
           LIMIT 1`,
    values: [id, token.nonce, runId, sequence],
  });
  return rows[0]?.s3_upload_id;
}

/**
 * An attempt that wakes late opens nothing that has ended: nobody would end it again. The row of the upload is held, first of
 * all rows as at an end, so that neither passes the other.
 */
async function mustRun(tx: PoolClient, { id, runId, runStartedAt }: OpeningSession): Promise<void> {
  const { rows } = await query<{ state: UploadState; own: boolean; overtaken: boolean }>(tx, 'openSession', {
    name: 'session-run-ended',
    text: `SELECT state, run_id = $3 AS own, run_started_at > $2 AS overtaken FROM object_uploads WHERE id = $1 FOR SHARE`,
    values: [id, runStartedAt, runId],
  });
  const [upload] = rows;
  if (upload === undefined || !isTerminal(upload.state) || !(upload.own || upload.overtaken)) return;
  const message = `the session has ended: ${upload.state}`;
  throw new LongshoreError('AttemptFenced', message, { op: 'openSession', key: id });
}

interface Standing {
  generation: number;
  s3UploadId: string | null;
  nonce: string;
  overtaken: boolean;
}

async function standing(tx: PoolClient, opening: OpeningSession): Promise<Standing | undefined> {
  const { rows } = await query<Standing & { [column: string]: unknown }>(tx, 'openSession', {
    name: 'session-standing',
    text: `SELECT generation, s3_upload_id AS "s3UploadId", nonce, (run_started_at, run_generation) > ($2::timestamptz(3), $3) AS overtaken
             FROM sessions WHERE id = $1 FOR UPDATE`,
    values: [opening.id, opening.runStartedAt, opening.runGeneration],
  });
  return rows[0];
}

/** A node that has an object keeps its key; one that has none goes where its session goes. */
async function registerNode(tx: PoolClient, opening: OpeningSession): Promise<void> {
  const { source, destination, contentType } = opening;
  const { rows } = await query(tx, 'openSession', {
    name: 'register-node',
    text: `INSERT INTO nodes AS n (node_id, connector_id, name, content_type, bucket, key)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (node_id) DO UPDATE SET
             status = CASE WHEN n.status = 'ACTIVE' THEN 'ACTIVE' ELSE 'PENDING' END,
             bucket = EXCLUDED.bucket, key = EXCLUDED.key, updated_at = now()
           WHERE n.status <> 'ACTIVE' OR (n.bucket, n.key) = (EXCLUDED.bucket, EXCLUDED.key)
           RETURNING node_id`,
    values: [
      source.nodeId,
      source.connectorId ?? null,
      printable(source.name),
      contentType,
      destination.bucket,
      destination.key,
    ],
  });
  if (rows.length > 0) return;
  const message = `the node ${source.nodeId} is an object at another key than s3://${destination.bucket}/${destination.key}`;
  throw new LongshoreError('Conflict', message, { op: 'openSession', key: opening.id });
}

const COLUMNS = [
  'id',
  'node_id',
  'connector_id',
  'name',
  'content_type',
  'metadata',
  'bucket',
  'key',
  'mode',
  'chunk_size',
  'expected_size',
  's3_upload_id',
  'generation',
  'nonce',
  'encryption',
  'checksums',
  'api_key',
  'ttl_ms',
  'run_started_at',
  'run_generation',
] as const;

const WRITE = `
INSERT INTO sessions AS s (${COLUMNS.join(', ')}, open)
VALUES (${COLUMNS.map((_, at) => `$${at + 1}`).join(', ')}, true)
ON CONFLICT (id) DO UPDATE SET
  ${COLUMNS.map((column) => `${column} = EXCLUDED.${column}`).join(', ')},
  open = true, turn = 0, touched_at = now(), ended_at = NULL,
  begun = s.begun AND s.run_started_at = EXCLUDED.run_started_at`;

async function write(tx: PoolClient, opening: OpeningSession, generation: number): Promise<void> {
  const { source, destination } = opening;
  await query(tx, 'openSession', {
    name: 'open-session',
    text: WRITE,
    values: [
      opening.id,
      source.nodeId,
      source.connectorId ?? null,
      printable(source.name),
      opening.contentType,
      JSON.stringify(opening.metadata),
      destination.bucket,
      destination.key,
      source.mode,
      opening.chunkSize,
      opening.expectedSize,
      opening.s3UploadId,
      generation,
      opening.token.nonce,
      opening.encryption === null ? null : JSON.stringify(opening.encryption),
      opening.checksums ?? true,
      opening.apiKey,
      source.ttlMs,
      opening.runStartedAt,
      opening.runGeneration,
    ],
  });
}

/** What was brought for a multipart upload that is gone, or for a session that has ended. */
export async function forgetParts(tx: Queryable, id: string): Promise<void> {
  for (const table of ['session_parts', 'session_tails']) {
    await query(tx, 'forgetParts', {
      name: `forget-${table}`,
      text: `DELETE FROM ${table} WHERE session = $1`,
      values: [id],
    });
  }
}

/** The client is alive. A session that takes nothing lives no longer for it: its end may be on its way. */
export async function touchSession(db: Queryable, id: string): Promise<void> {
  await query(db, 'touchSession', {
    name: 'touch-session',
    text: 'UPDATE sessions SET touched_at = now() WHERE id = $1 AND open AND ended_at IS NULL',
    values: [id],
  });
}

/** The first chunk has come; the workflow was told. */
export async function markBegun(db: Queryable, id: string): Promise<void> {
  await query(db, 'markBegun', {
    name: 'mark-session-begun',
    text: 'UPDATE sessions SET begun = true WHERE id = $1 AND NOT begun',
    values: [id],
  });
}

export interface Turn {
  id: string;
  generation: number;
  /** Rises with whatever closes or opens the session. */
  turn: number;
  /** The same within one turn; default 0. */
  step?: number;
}

const STEPS = 2 ** 20;

/**
 * Takes no more chunks, or takes them again. Changes nothing when another generation is at work, or when this or a later
 * turn was here already.
 */
export async function setOpen(
  db: Queryable,
  { id, generation, turn, step = 0 }: Turn,
  open: boolean,
): Promise<void> {
  await query(db, 'setOpen', {
    name: 'set-session-open',
    text: `UPDATE sessions SET open = $3, turn = $4, touched_at = now()
            WHERE id = $1 AND generation = $2 AND turn < $4 AND ended_at IS NULL`,
    values: [id, generation, open, turn * STEPS + step],
  });
}

/**
 * Milliseconds until the session expires. 0: it is over, and takes no more chunks, so that no touch that comes later
 * brings it back.
 */
export async function expireSession(db: Queryable, id: string): Promise<number> {
  const due = `touched_at + ttl_ms * interval '1 millisecond'`;
  const over = await query(db, 'expireSession', {
    name: 'expire-session',
    text: `UPDATE sessions SET open = false WHERE id = $1 AND ${due} <= now()`,
    values: [id],
  });
  if (over.rowCount === 1) return 0;
  const { rows } = await query<{ left: string }>(db, 'expireSession', {
    name: 'session-life-left',
    text: `SELECT ceil(extract(epoch FROM ${due} - now()) * 1000)::bigint AS left FROM sessions WHERE id = $1`,
    values: [id],
  });
  return rows[0] === undefined ? 0 : Math.max(1, Number(rows[0].left));
}
