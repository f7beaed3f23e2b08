/** Where the scan of a run is. */
import { LongshoreError } from '../../core/errors.js';
import type { JobRef } from '../../core/job-steps.js';
import { fenced } from './fence.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

/** Sums from the beginning of the run's scan; sizes in bytes. */
export interface ScanFound {
  /** To be sent, large ones and markers included. */
  pendingFiles: number;
  pendingBytes: number;
  /** Of the pending ones, those that get an upload of their own. */
  largeFiles: number;
  unchangedFiles: number;
  unchangedBytes: number;
  failedFiles: number;
  failedBytes: number;
  skippedFiles: number;
  goneFiles: number;
}

export const NOTHING_FOUND: Readonly<ScanFound> = {
  pendingFiles: 0,
  pendingBytes: 0,
  largeFiles: 0,
  unchangedFiles: 0,
  unchangedBytes: 0,
  failedFiles: 0,
  failedBytes: 0,
  skippedFiles: 0,
  goneFiles: 0,
};

export interface Batch {
  batch: number;
  files: number;
  bytes: number;
}

/** A batch that is not full yet; its rows carry its number already, but it must not be given out. */
export type OpenBatch = Batch;

export interface ScanProgress {
  /** As the last chunk gave it; null at the beginning. */
  cursor: string | null;
  done: boolean;
  /** Batches 1 to this are full and may be given out. */
  batches: number;
  found: ScanFound;
  openBatch: OpenBatch | null;
}

interface RawProgress {
  generation: number;
  scan_cursor: string | null;
  scan_done: boolean;
  batches: number;
  scan_found: Partial<ScanFound>;
  scan_open: OpenBatch | null;
}

/** Throws NotFound, or AttemptFenced when a newer run has the job. */
export async function scanProgress(db: Queryable, ref: JobRef): Promise<ScanProgress> {
  return read(db, ref, 'scan-progress', '');
}

/** As `scanProgress`, in a transaction to whose end nobody else writes it. */
export async function lockProgress(db: Queryable, ref: JobRef): Promise<ScanProgress> {
  return read(db, ref, 'lock-scan-progress', 'FOR NO KEY UPDATE');
}

async function read(db: Queryable, ref: JobRef, name: string, lock: string): Promise<ScanProgress> {
  const { rows } = await query<RawProgress>(db, 'scanProgress', {
    name,
    text: `SELECT generation, scan_cursor, scan_done, batches, scan_found, scan_open
      FROM upload_jobs WHERE no = $1 ${lock}`,
    values: [ref.job],
  });
  const row = rows[0];
  if (row === undefined) {
    throw new LongshoreError('NotFound', `there is no job number ${ref.job}`, { op: 'scanProgress' });
  }
  if (row.generation !== ref.generation) throw fenced('scanProgress', ref);
  return {
    cursor: row.scan_cursor,
    done: row.scan_done,
    batches: row.batches,
    found: { ...NOTHING_FOUND, ...row.scan_found },
    openBatch: row.scan_open,
  };
}

/** New batches of a run. Within the transaction that makes their rows. */
export async function addBatches(db: Queryable, job: number, batches: readonly Batch[]): Promise<void> {
  if (batches.length === 0) return;
  await query(db, 'addBatches', {
    name: 'add-batches',
    text: `INSERT INTO upload_batches (upload_job_id, batch, files, bytes)
      SELECT $1, * FROM unnest($2::integer[], $3::integer[], $4::bigint[])`,
    values: [job, batches.map((b) => b.batch), batches.map((b) => b.files), batches.map((b) => b.bytes)],
  });
}
