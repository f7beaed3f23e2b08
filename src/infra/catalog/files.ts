/** The files of a job while they are sent, and as lists show them. */
import type { LargeInput, LargeOutcome, JobRef, RegroupAnswer } from '../../core/job-steps.js';
import type { JobFile } from '../../core/jobs.js';
import type { FileState } from '../../core/states.js';
import type { Pool, Queryable } from './pool.js';

export interface PendingFile {
  path: string;
  size: number;
  /** Nanoseconds since 1970, decimal; null for an empty folder's marker that has none. */
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

/** A large file below the job's folder. */
export interface PendingLarge {
  /** Rises from call to call within a run, also for files that a later round takes up again. */
  file: number;
  path: string;
  size: number;
  uploadId: string;
}

/** An object whose file is gone. */
export interface GoneFile {
  path: string;
  /** As it was when it was sent last; keys may be made of it. */
  mtimeNs: string | null;
  marker: boolean;
  etag: string | null;
  versionId: string | null;
}

/** An object that the catalog vouches for. */
export interface UploadedFile {
  path: string;
  size: number;
  mtimeNs: string | null;
  marker: boolean;
  checksum: string | null;
  etag: string | null;
  versionId: string | null;
}

/** A file as lists show it, without its key, which follows from the job's destination. */
export interface FileRow extends Omit<JobFile, 'key'> {
  /** The file's number. */
  id: number;
  mtimeNs: string | null;
  large: boolean;
  marker: boolean;
  /** The upload of a large file. */
  uploadId: string | null;
}

export interface ListFiles {
  state?: FileState | undefined;
  /** Only paths that begin so. */
  prefix?: string | undefined;
  /** `next` of the page before: a path. */
  after?: string | undefined;
  /** Rows of one page, 1 to 1,000. */
  limit: number;
}

/** Marks the batch as running and answers what is left of it to send, in path order. Throws AttemptFenced. */
export declare function claimBatch(db: Queryable, ref: JobRef, batch: number): Promise<PendingFile[]>;
/**
 * Writes outcomes and the batch's counters in one statement. Rows that are not pending any more, or in another batch
 * by now, stay as they are and count nothing, so that repeating it is harmless. Throws AttemptFenced when a newer run
 * has the job.
 */
export declare function settleFiles(
  db: Queryable,
  ref: JobRef,
  batch: number,
  outcomes: readonly FileOutcome[],
): Promise<void>;
/** The batch is not running any more. */
export declare function endBatch(db: Queryable, ref: JobRef, batch: number): Promise<void>;
/** Pending large files with a number above `after`, marked as on their way. Repeated, it answers the same again. */
export declare function nextLarge(db: Queryable, input: LargeInput): Promise<PendingLarge[]>;
/** A cancelled one is pending again. Nothing changes for a file that is not pending, or not of this run. */
export declare function settleLarge(db: Queryable, outcome: LargeOutcome): Promise<void>;
/**
 * Gives what is pending (and with FAILED what failed when it was sent, not what the scan refused) to new batches after
 * those there are; large files get new numbers. Files that were tried `maxAttempts` times fail instead. To be called when
 * nothing of the job is on its way.
 */
export declare function regroup(
  pool: Pool,
  ref: JobRef,
  ask: { maxAttempts: number; statuses: readonly ('PENDING' | 'FAILED')[] },
): Promise<RegroupAnswer>;
/** Objects whose files are gone, and all objects that the catalog knows of this job. */
export declare function lookAtDeletions(db: Queryable, ref: JobRef): Promise<{ gone: number; known: number }>;
/** The first objects to delete, in path order; `forgetFiles` takes them out of the way. */
export declare function nextGone(db: Queryable, ref: JobRef, limit: number): Promise<GoneFile[]>;
/** The objects are deleted: removes their rows and counts them. Rows that are not gone stay. */
export declare function forgetFiles(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void>;
/** Uploaded files after the path `after`, in path order. */
export declare function readUploaded(
  db: Queryable,
  job: number,
  page: { after: string | null; limit: number },
): Promise<UploadedFile[]>;
/** Uploaded files whose object is missing or different are pending again; `regroup` gives them to batches. */
export declare function resend(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void>;
/** In path order. Throws InvalidInput for a bad limit. */
export declare function listFiles(
  db: Queryable,
  job: number,
  ask: ListFiles,
): Promise<{ rows: FileRow[]; next?: string }>;
