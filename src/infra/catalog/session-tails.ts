/**
 * How far an upload that comes in one stream has got: its parts from the first on without a gap, then the bytes that are
 * no whole part yet. Both are in the catalog, so that any process can go on.
 */
import { LongshoreError } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';
import { query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';

export interface SessionRef {
  session: string;
  generation: number;
}

/** Parts from the first on, without a gap; the tail follows them. */
export interface Extent {
  parts: number;
  partBytes: number;
  tailBytes: number;
}

/** A row at most; larger ones cost PostgreSQL much memory at once. */
const PIECE = MiB;

export async function readExtent(db: Queryable, { session, generation }: SessionRef): Promise<Extent> {
  const { rows } = await query<{ parts: number; bytes: string; tail: string }>(db, 'readExtent', {
    name: 'session-extent',
    text: `
      WITH numbered AS (
        SELECT part_number, size, row_number() OVER (ORDER BY part_number) AS place FROM session_parts
         WHERE session = $1 AND generation = $2 AND etag IS NOT NULL
      ), there AS (
        SELECT count(*)::int AS parts, coalesce(sum(size), 0)::bigint AS bytes FROM numbered WHERE part_number = place
      ), pieces AS (
        SELECT start, octet_length(t.bytes) AS length,
               coalesce(sum(octet_length(t.bytes)) OVER (ORDER BY start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
          FROM session_tails t, there WHERE t.session = $1 AND t.start >= there.bytes
      )
      SELECT there.parts, there.bytes,
             (SELECT coalesce(sum(length), 0) FROM pieces WHERE start = there.bytes + before)::bigint AS tail
        FROM there`,
    values: [session, generation],
  });
  const found = rows[0];
  return {
    parts: found?.parts ?? 0,
    partBytes: Number(found?.bytes ?? 0),
    tailBytes: Number(found?.tail ?? 0),
  };
}

/**
 * Keeps bytes that follow what is there; they count once this has answered. What was kept from `start` on before is
 * replaced. Throws NoSuchUpload when another generation is at work, NotRunning when the session takes nothing,
 * ChunkSuperseded when another writer has begun.
 */
export async function appendTail(
  db: Pool,
  at: SessionRef & { writer: number; start: number },
  bytes: Buffer,
): Promise<void> {
  await transaction(db, 'appendTail', async (tx) => {
    await mustWrite(tx, at);
    await query(tx, 'appendTail', {
      name: 'replace-tail',
      text: 'DELETE FROM session_tails WHERE session = $1 AND start >= $2',
      values: [at.session, at.start],
    });
    for (let from = 0; from < bytes.byteLength; from += PIECE) {
      await query(tx, 'appendTail', {
        name: 'append-tail',
        text: 'INSERT INTO session_tails (session, start, bytes) VALUES ($1, $2, $3)',
        values: [at.session, at.start + from, bytes.subarray(from, from + PIECE)],
      });
    }
  });
}

/** Reads the tail that begins at `start` into `target`, which has its length. Throws ChunkSuperseded when it is not all there. */
export async function readTail(db: Queryable, session: string, start: number, target: Buffer): Promise<void> {
  let filled = 0;
  while (filled < target.byteLength) {
    // Piece by piece: a whole tail at once would be in memory three times over.
    const { rows } = await query<{ bytes: Buffer }>(db, 'readTail', {
      name: 'read-tail',
      text: 'SELECT bytes FROM session_tails WHERE session = $1 AND start = $2',
      values: [session, start + filled],
    });
    const piece = rows[0]?.bytes;
    if (piece === undefined) throw superseded(session, 'readTail');
    filled += piece.copy(target, filled);
  }
}

/** Forgets what lies before `end`: it is in a part by now. */
export async function cutTail(db: Queryable, session: string, end: number): Promise<void> {
  await query(db, 'cutTail', {
    name: 'cut-tail',
    text: 'DELETE FROM session_tails WHERE session = $1 AND start < $2',
    values: [session, end],
  });
}

interface Standing {
  generation: number;
  open: boolean;
  writer: string;
}

/** Throws unless this writer is the newest, and its session takes bytes of this generation. */
export async function mustWrite(
  db: Queryable,
  { session, generation, writer }: SessionRef & { writer: number },
): Promise<void> {
  const { rows } = await query<Standing & { [column: string]: unknown }>(db, 'mustWrite', {
    name: 'tus-writer-standing',
    text: `SELECT s.generation, s.open, t.writer FROM tus_uploads t JOIN sessions s ON s.id = t.session
            WHERE t.session = $1 FOR SHARE OF t`,
    values: [session],
  });
  const found = rows[0];
  if (Number(found?.writer) !== writer) throw superseded(session, 'mustWrite');
  if (found?.generation !== generation) {
    const message = `the multipart upload of ${session} was lost, and another begun`;
    throw new LongshoreError('NoSuchUpload', message, { op: 'mustWrite', key: session });
  }
  if (!found.open) {
    const message = `the session ${session} takes no more bytes`;
    throw new LongshoreError('NotRunning', message, { op: 'mustWrite', key: session });
  }
}

function superseded(session: string, op: string): LongshoreError {
  return new LongshoreError('ChunkSuperseded', `another request sends to ${session} by now`, {
    op,
    key: session,
    hint: 'Ask for the offset, and send from there.',
  });
}
