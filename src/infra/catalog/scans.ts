/** What the scan of a folder writes: rows of files and its own progress, in one transaction. */
import type { JobRef } from '../../core/job-steps.js';
import type { FileState } from '../../core/states.js';
import type { Pool, Queryable } from './pool.js';

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

/** A batch that is not full yet; its rows carry its number already, but it must not be given out. */
export interface OpenBatch {
  batch: number;
  files: number;
  bytes: number;
}

export interface ScanProgress {
  /** As the last chunk gave it; null at the beginning. */
  cursor: string | null;
  done: boolean;
  /** Batches 1 to this are full and may be given out. */
  batches: number;
  found: ScanFound;
  openBatch: OpenBatch | null;
}

/** What the catalog knows of a file. A row that is `gone` counts as new when the file is there again. */
export interface ManifestRow {
  path: string;
  state: Exclude<FileState, 'IN_PROGRESS'>;
  size: number | null;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | null;
  /** `crc32:<base64>`. */
  checksum: string | null;
  gone: boolean;
  /** The last run that had something to do with it. */
  generation: number;
}

export interface ScannedFile {
  path: string;
  state: 'PENDING' | 'FAILED' | 'SKIPPED';
  size: number | null;
  mtimeNs: string | null;
  /** null for large files, and for those that are not sent. */
  batch: number | null;
  large: boolean;
  /** An empty folder's marker. */
  marker: boolean;
  failureCode?: string;
  failureReason?: string;
}

export interface ScanChunk {
  /** The cursor that this chunk goes on from: that of the chunk before, or of `scanProgress`. */
  follows: string | null;
  /** Where the next one goes on; opaque here. Other than `follows` unless `done`. */
  cursor: string | null;
  done: boolean;
  rows: readonly ScannedFile[];
  /** Paths of the manifest that the tree has no more. */
  gone: readonly string[];
  /** Batches that were closed by this chunk. */
  batches: readonly OpenBatch[];
  openBatch: OpenBatch | null;
  /** This chunk included. */
  found: ScanFound;
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

/** Throws NotFound, or AttemptFenced when a newer run has the job. */
export async function scanProgress(db: Queryable, ref: JobRef): Promise<ScanProgress> {
  throw new Error(`${typeof db} ${ref.job}`);
}

/** Rows after the path `after`, in the byte order of their paths; those that are gone included. */
export async function readManifest(
  db: Queryable,
  job: number,
  page: { after: string | null; limit: number },
): Promise<ManifestRow[]> {
  throw new Error(`${typeof db} ${job} ${page.limit}`);
}

/**
 * Rows and progress, both or neither. Throws AttemptFenced when the stored progress is not what the chunk follows, or
 * a newer run has the job: what it says is then known already, or out of date. After any other failure ask `scanProgress`.
 */
export async function writeScan(pool: Pool, ref: JobRef, chunk: ScanChunk): Promise<void> {
  throw new Error(`${pool.totalCount} ${ref.job} ${chunk.cursor}`);
}
