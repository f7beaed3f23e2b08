/**
 * How far jobs are. While a run is under way its counts follow from what its scan found and what its batches did, a few
 * thousand rows at most; the rows of files are counted once, at the end.
 */
import type { JobRef } from '../../core/job-steps.js';
import type { JobCounts } from '../../core/jobs.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { NOTHING_FOUND } from './scan-progress.js';
import type { ScanFound } from './scan-progress.js';

/** What the batches of a run did, and what it took back or deleted. Sums of bigint come as text. */
export interface Done {
  done_files: string;
  done_bytes: string;
  sent_bytes: string;
  failed_files: string;
  skipped_files: string;
  skipped_bytes: string;
  resent_files: number;
  resent_bytes: string;
  deleted_files: number;
  scan_found: Partial<ScanFound>;
}

/** Columns of `Done`, for a job `j` and its batches summed in `b`. */
const DONE = `j.scan_found, j.resent_files, j.resent_bytes, j.deleted_files,
  b.done_files, b.done_bytes, b.sent_bytes, b.failed_files, b.skipped_files, b.skipped_bytes`;
const SUMS = `LATERAL (
  SELECT coalesce(sum(done_files), 0) AS done_files, coalesce(sum(done_bytes), 0) AS done_bytes,
    coalesce(sum(sent_bytes), 0) AS sent_bytes, coalesce(sum(failed_files), 0) AS failed_files,
    coalesce(sum(skipped_files), 0) AS skipped_files, coalesce(sum(skipped_bytes), 0) AS skipped_bytes
  FROM upload_batches WHERE upload_job_id = j.no) b`;

interface Counted extends Done {
  no: string;
  ended: boolean;
  counts: JobCounts | null;
}

/** How far each job is: live while it runs, as stored when it has ended. Unknown numbers are left out. */
export async function jobCounts(db: Queryable, jobs: readonly number[]): Promise<Map<number, JobCounts>> {
  if (jobs.length === 0) return new Map();
  const { rows } = await query<Counted>(db, 'jobCounts', {
    name: 'job-counts',
    text: `SELECT j.no, j.state IN ('COMPLETED', 'FAILED', 'CANCELLED') AS ended, j.counts, ${DONE}
      FROM upload_jobs j CROSS JOIN ${SUMS} WHERE j.no = ANY ($1::bigint[])`,
    values: [jobs],
  });
  return new Map(
    rows.map((row) => [Number(row.no), row.ended && row.counts !== null ? row.counts : liveCounts(row)]),
  );
}

function liveCounts(done: Done): JobCounts {
  const found = { ...NOTHING_FOUND, ...done.scan_found };
  const completedBytes = found.unchangedBytes - Number(done.resent_bytes) + Number(done.done_bytes);
  const totalBytes =
    found.pendingBytes + found.unchangedBytes + found.failedBytes - Number(done.skipped_bytes);
  return {
    totalFiles: found.pendingFiles + found.unchangedFiles + found.failedFiles - Number(done.skipped_files),
    // Files may have grown since they were found.
    totalBytes: Math.max(totalBytes, completedBytes),
    completedFiles: found.unchangedFiles - done.resent_files + Number(done.done_files),
    completedBytes,
    failedFiles: found.failedFiles + Number(done.failed_files),
    skippedFiles: found.skippedFiles + Number(done.skipped_files),
    ...ofRun(done, found),
  };
}

function ofRun(done: Done, found: ScanFound) {
  return {
    sentFiles: Number(done.done_files),
    sentBytes: Number(done.sent_bytes),
    unchangedFiles: found.unchangedFiles,
    deletedFiles: done.deleted_files,
  };
}

interface Rows extends Done {
  total_files: string;
  total_bytes: string;
  completed_files: string;
  completed_bytes: string;
  failed_rows: string;
  skipped_rows: string;
}

/** From the rows themselves: about a second for a million. undefined when a newer run has the job. */
export async function countRows(db: Queryable, ref: JobRef): Promise<JobCounts | undefined> {
  const { rows } = await query<Rows>(db, 'finishJob', {
    text: `SELECT ${DONE}, f.* FROM upload_jobs j CROSS JOIN ${SUMS} CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state <> 'SKIPPED') AS total_files,
          coalesce(sum(size) FILTER (WHERE state <> 'SKIPPED'), 0) AS total_bytes,
          count(*) FILTER (WHERE state = 'UPLOADED') AS completed_files,
          coalesce(sum(size) FILTER (WHERE state = 'UPLOADED'), 0) AS completed_bytes,
          count(*) FILTER (WHERE state = 'FAILED') AS failed_rows,
          count(*) FILTER (WHERE state = 'SKIPPED') AS skipped_rows
        FROM files WHERE upload_job_id = j.no AND NOT gone) f
      WHERE j.no = $1 AND j.generation = $2`,
    values: [ref.job, ref.generation],
  });
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    totalFiles: Number(row.total_files),
    totalBytes: Number(row.total_bytes),
    completedFiles: Number(row.completed_files),
    completedBytes: Number(row.completed_bytes),
    failedFiles: Number(row.failed_rows),
    skippedFiles: Number(row.skipped_rows),
    ...ofRun(row, { ...NOTHING_FOUND, ...row.scan_found }),
  };
}
