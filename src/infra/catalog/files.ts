/** The files of a job's batches while they are sent. */
import type { JobRef } from '../../core/job-steps.js';
import { fenced } from './fence.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { DEFAULT_CODE } from './scan-rows.js';
import { nanoseconds, printable } from './values.js';

export { doubtObjects, forgetFiles, keepFiles, lookAtDeletions, nextGone } from './deletions.js';
export type { GoneFile } from './deletions.js';
export { listFiles, readUploaded } from './file-lists.js';
export type { FileRow, ListFiles, UploadedFile } from './file-lists.js';
export { nextLarge, settleLarge } from './large-files.js';
export type { PendingLarge } from './large-files.js';
export { regroup, resend, resentFiles } from './rounds.js';

export interface PendingFile {
  path: string;
  size: number;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | null;
  /** An empty folder's marker: an empty object whose key ends in `/`. */
  marker: boolean;
  /** How often this run has tried it before. */
  attempts: number;
}

/** What became of one file of a batch. */
export interface FileOutcome {
  path: string;
  /** PENDING: left for another round, for example since it changed while it was read. */
  state: 'UPLOADED' | 'FAILED' | 'SKIPPED' | 'PENDING';
  /** As it was sent, or as it is now. */
  size: number;
  mtimeNs: string | null;
  /** `crc32:<base64>`. */
  checksum?: string | undefined;
  etag?: string | undefined;
  versionId?: string | undefined;
  failureCode?: string | undefined;
  failureReason?: string | undefined;
  /** Bytes that went out for it, also in vain. */
  sentBytes: number;
}

interface RawPending {
  path: string | null;
  size: string | null;
  mtime_ns: string | null;
  marker: boolean;
  attempts: number;
}

/** Marks the batch as running and answers what is left of it to send, in path order. Throws AttemptFenced. */
export async function claimBatch(db: Queryable, ref: JobRef, batch: number): Promise<PendingFile[]> {
  const { rows } = await query<RawPending>(db, 'claimBatch', {
    name: 'claim-batch',
    text: `WITH claimed AS (
        UPDATE upload_batches b SET running = true FROM upload_jobs j
        WHERE j.no = $1 AND j.generation = $2 AND b.upload_job_id = j.no AND b.batch = $3 RETURNING b.batch
      )
      SELECT f.path, f.size, f.mtime_ns, f.marker, f.attempts FROM claimed c LEFT JOIN files f
        ON f.upload_job_id = $1 AND f.batch = c.batch AND f.state = 'PENDING' AND f.generation = $2 AND NOT f.gone
      ORDER BY f.path`,
    values: [ref.job, ref.generation, batch],
  });
  if (rows.length === 0)
    throw fenced('claimBatch', ref, `the run has no batch ${batch}, or not the job any more`);
  return rows.flatMap(({ path, size, mtime_ns, marker, attempts }) =>
    path === null ? [] : [{ path, size: Number(size), mtimeNs: mtime_ns, marker, attempts }],
  );
}

/**
 * The batch's number is what finds the rows; what a row had from its object before stays unless there is a new one. Not
 * a named statement: the generic plan that those end with takes a table without statistics for an empty one, and compares
 * each file with each outcome (150 ms instead of 3). Planned for its values, the files are hashed.
 */
const SETTLE = `
WITH current AS (
  SELECT no FROM upload_jobs WHERE no = $1 AND generation = $2
), settled AS (
  UPDATE files f SET state = o.state, size = o.size, mtime_ns = o.mtime_ns, attempts = f.attempts + 1,
    stored = f.stored OR o.state = 'UPLOADED',
    checksum = CASE WHEN o.state = 'UPLOADED' THEN o.checksum ELSE f.checksum END,
    etag = CASE WHEN o.state = 'UPLOADED' THEN o.etag ELSE f.etag END,
    version_id = CASE WHEN o.state = 'UPLOADED' THEN o.version_id ELSE f.version_id END,
    failure_code = o.failure_code, failure_reason = o.failure_reason, updated_at = now()
  FROM current, unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::bigint[])
    AS o (path, state, size, mtime_ns, checksum, etag, version_id, failure_code, failure_reason, sent_bytes)
  WHERE f.upload_job_id = current.no AND f.batch = $3 AND f.path = o.path
    AND f.state = 'PENDING' AND f.generation = $2
  RETURNING o.state, o.size, o.sent_bytes
), sums AS (
  SELECT count(*) FILTER (WHERE state = 'UPLOADED') AS done_files,
    coalesce(sum(size) FILTER (WHERE state = 'UPLOADED'), 0) AS done_bytes,
    coalesce(sum(sent_bytes), 0) AS sent_bytes,
    count(*) FILTER (WHERE state = 'FAILED') AS failed_files,
    count(*) FILTER (WHERE state = 'SKIPPED') AS skipped_files,
    coalesce(sum(size) FILTER (WHERE state = 'SKIPPED'), 0) AS skipped_bytes
  FROM settled
), counted AS (
  UPDATE upload_batches b SET done_files = b.done_files + sums.done_files,
    done_bytes = b.done_bytes + sums.done_bytes, sent_bytes = b.sent_bytes + sums.sent_bytes,
    failed_files = b.failed_files + sums.failed_files, skipped_files = b.skipped_files + sums.skipped_files,
    skipped_bytes = b.skipped_bytes + sums.skipped_bytes
  FROM sums, current WHERE b.upload_job_id = current.no AND b.batch = $3
)
SELECT no FROM current`;

/**
 * Writes outcomes and the batch's counters in one statement. Rows that are not pending any more, or in another batch
 * by now, stay as they are and count nothing, so that repeating it is harmless. Throws AttemptFenced when a newer run
 * has the job.
 */
export async function settleFiles(
  db: Queryable,
  ref: JobRef,
  batch: number,
  outcomes: readonly FileOutcome[],
): Promise<void> {
  if (outcomes.length === 0) return;
  const columns: (string | number | null)[][] = Array.from({ length: 10 }, () => []);
  for (const outcome of outcomes) {
    outcomeValues(outcome).forEach((value, index) => columns[index]?.push(value));
  }
  const { rows } = await query(db, 'settleFiles', {
    text: SETTLE,
    values: [ref.job, ref.generation, batch, ...columns],
  });
  if (rows.length === 0) throw fenced('settleFiles', ref);
}

function outcomeValues(outcome: FileOutcome): (string | number | null)[] {
  const { state, failureReason } = outcome;
  const code = state === 'UPLOADED' ? undefined : (outcome.failureCode ?? defaultCode(state));
  return [
    outcome.path,
    state,
    outcome.size,
    nanoseconds(outcome.mtimeNs),
    outcome.checksum ?? null,
    outcome.etag ?? null,
    outcome.versionId ?? null,
    code ?? null,
    code === undefined || failureReason === undefined ? null : printable(failureReason),
    outcome.sentBytes,
  ];
}

function defaultCode(state: 'FAILED' | 'SKIPPED' | 'PENDING'): string | undefined {
  return state === 'PENDING' ? undefined : DEFAULT_CODE[state];
}

/** The batch is not running any more. Changes nothing for a run that was overtaken. */
export async function endBatch(db: Queryable, ref: JobRef, batch: number): Promise<void> {
  await query(db, 'endBatch', {
    name: 'end-batch',
    text: `UPDATE upload_batches b SET running = false FROM upload_jobs j
      WHERE j.no = $1 AND j.generation = $2 AND b.upload_job_id = j.no AND b.batch = $3 AND b.running`,
    values: [ref.job, ref.generation, batch],
  });
}
