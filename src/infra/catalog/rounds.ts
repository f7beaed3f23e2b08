/** What one round of batches left over, and what the bucket turned out to lack, goes into another round. */
import type { JobRef, RegroupAnswer } from '../../core/job-steps.js';
import { MiB } from '../../core/limits.js';
import { assertCurrent, fenced } from './fence.js';
import { query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';
import { addBatches, lockProgress } from './scan-progress.js';
import type { Batch, ScanFound, ScanProgress } from './scan-progress.js';

export interface RegroupAsk {
  maxAttempts: number;
  /** FAILED: what failed when it was sent. What the scan refused stays refused: the scan alone can say otherwise. */
  statuses: readonly ('PENDING' | 'FAILED')[];
}

/** A batch is closed when it holds this much, a file counting as one part in BATCH_FILES at least. */
const BATCH_BYTES = 64 * MiB;
const BATCH_FILES = 500;
/** Rows of one transaction: well within a statement's time limit. */
const SLICE = 20_000;

/**
 * Gives what is pending (and with FAILED what failed when it was sent) to new batches after those there are; large files
 * get new numbers. Pending files that were tried `maxAttempts` times fail instead. To be called when nothing of the job
 * is on its way; repeated, it gives them out once more. Throws AttemptFenced.
 */
export async function regroup(pool: Pool, ref: JobRef, ask: RegroupAsk): Promise<RegroupAnswer> {
  let [after, pending]: [string | null, number] = ['', 0];
  while (after !== null) {
    const from: string = after;
    const slice = await transaction(pool, 'regroup', async (client) => {
      const progress = await lockProgress(client, ref);
      return regroupSlice(client, ref, ask, { after: from, progress });
    });
    pending += slice.pending;
    after = slice.last;
  }
  const { rows } = await query<{ batches: number }>(pool, 'regroup', {
    text: 'SELECT batches FROM upload_jobs WHERE no = $1 AND generation = $2',
    values: [ref.job, ref.generation],
  });
  if (rows[0] === undefined) throw fenced('regroup', ref);
  return { batches: rows[0].batches, pending };
}

interface Regrouped {
  path: string;
  was: 'PENDING' | 'FAILED';
  state: 'PENDING' | 'FAILED';
  large: boolean;
  size: string | null;
  batch: number | null;
}

const REGROUP = `
WITH chosen AS (
  SELECT path, state AS was, attempts >= $5 AND state = 'PENDING' AS spent, large, coalesce(size, 0) AS size
  FROM files
  WHERE upload_job_id = $1 AND path > $3 AND state = ANY ($4::text[]) AND NOT gone
    AND (state = 'PENDING' OR batch IS NOT NULL OR large)
  ORDER BY path LIMIT ${SLICE}
), weighed AS (
  SELECT *, sum(CASE WHEN spent OR large THEN 0 ELSE greatest(size, ${Math.ceil(BATCH_BYTES / BATCH_FILES)}) END)
    OVER (ORDER BY path ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM chosen
), regrouped AS (
  UPDATE files f SET generation = $2, updated_at = now(),
    state = CASE WHEN w.spent THEN 'FAILED' ELSE 'PENDING' END,
    attempts = CASE WHEN w.was = 'FAILED' THEN 0 ELSE f.attempts END,
    batch = CASE WHEN w.large THEN NULL WHEN w.spent THEN f.batch
      ELSE $6::integer + 1 + div(coalesce(w.before, 0), ${BATCH_BYTES})::integer END,
    id = CASE WHEN w.large AND NOT w.spent THEN nextval(pg_get_serial_sequence('files', 'id')) ELSE f.id END,
    upload_id = CASE WHEN w.spent THEN f.upload_id END,
    failure_code = CASE WHEN w.spent THEN coalesce(f.failure_code, 'SourceChanged') END,
    failure_reason = CASE WHEN w.spent THEN coalesce(f.failure_reason, 'it was tried ' || f.attempts || ' times') END
  FROM weighed w WHERE f.upload_job_id = $1 AND f.path = w.path
  RETURNING f.path, w.was, f.state, f.large, f.size, f.batch
)
SELECT * FROM regrouped ORDER BY path`;

async function regroupSlice(
  db: Queryable,
  ref: JobRef,
  ask: RegroupAsk,
  at: { after: string; progress: ScanProgress },
): Promise<{ last: string | null; pending: number }> {
  const { progress } = at;
  const { rows } = await query<Regrouped>(db, 'regroup', {
    name: 'regroup-files',
    text: REGROUP,
    values: [ref.job, ref.generation, at.after, ask.statuses, ask.maxAttempts, progress.batches],
  });
  if (rows.length === 0) return { last: null, pending: 0 };
  const batches = batchesOf(rows);
  await addBatches(db, ref.job, batches);
  await query(db, 'regroup', {
    name: 'write-regrouped',
    text: 'UPDATE upload_jobs SET batches = $2, scan_found = $3, scan_open = NULL, updated_at = now() WHERE no = $1',
    values: [ref.job, batches.at(-1)?.batch ?? progress.batches, JSON.stringify(moved(progress.found, rows))],
  });
  return {
    last: rows.length < SLICE ? null : (rows.at(-1)?.path ?? null),
    pending: rows.filter(({ state }) => state === 'PENDING').length,
  };
}

function batchesOf(rows: readonly Regrouped[]): Batch[] {
  const batches: Batch[] = [];
  for (const { state, batch, size } of rows) {
    if (state !== 'PENDING' || batch === null) continue;
    let last = batches.at(-1);
    // Numbers between may stay empty after a large step: each must exist to be given out.
    for (let next = last === undefined ? batch : last.batch + 1; next <= batch; next += 1) {
      if (last?.batch !== batch) batches.push((last = { batch: next, files: 0, bytes: 0 }));
    }
    if (last === undefined) continue;
    last.files += 1;
    last.bytes += Number(size ?? 0);
  }
  return batches;
}

/** A file that changes sides does so in the counts too; their sum stays. */
function moved(found: ScanFound, rows: readonly Regrouped[]): ScanFound {
  const after = { ...found };
  for (const { was, state, size, large } of rows) {
    if (was === state) continue;
    const sign = state === 'PENDING' ? 1 : -1;
    const bytes = Number(size ?? 0);
    after.pendingFiles += sign;
    after.pendingBytes += sign * bytes;
    after.failedFiles -= sign;
    after.failedBytes -= sign * bytes;
    if (large) after.largeFiles += sign;
  }
  return after;
}

/** Uploaded files whose object is missing or different are pending again; `regroup` gives them to batches. Throws AttemptFenced. */
export async function resend(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  await assertCurrent(db, ref, 'resend');
  await query(db, 'resend', {
    name: 'resend-files',
    text: `WITH taken AS (
        UPDATE files f SET state = 'PENDING', batch = NULL, attempts = 0, upload_id = NULL, generation = $2,
          updated_at = now()
        FROM upload_jobs j
        WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.path = ANY ($3::text[])
          AND f.state = 'UPLOADED' AND NOT f.gone
        RETURNING f.size
      ), sums AS (SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM taken)
      UPDATE upload_jobs SET resent_files = resent_files + sums.files, resent_bytes = resent_bytes + sums.bytes
      FROM sums WHERE no = $1 AND generation = $2`,
    values: [ref.job, ref.generation, paths],
  });
}

/** Files that `resend` took back in this run, however often it was called. Throws AttemptFenced. */
export async function resentFiles(db: Queryable, ref: JobRef): Promise<number> {
  const { rows } = await query<{ resent_files: number }>(db, 'resentFiles', {
    text: 'SELECT resent_files FROM upload_jobs WHERE no = $1 AND generation = $2',
    values: [ref.job, ref.generation],
  });
  if (rows[0] === undefined) throw fenced('resentFiles', ref);
  return rows[0].resent_files;
}
