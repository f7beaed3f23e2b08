/** What the workflow and the activities of a job tell each other. It lies in history: numbers and ids, no lists of files. */
import type { FailureView } from './errors.js';
import type { JobCounts, JobDefinition, JobLimits, JobPhase, JobPlan, JobRunMode } from './jobs.js';
import type { JobState } from './states.js';

export interface OpenJobInput {
  id: string;
  mode: JobRunMode;
  definition?: JobDefinition;
  limits?: JobLimits;
  monitored?: boolean;
  workflowId: string;
  runId: string;
  /** ISO 8601: tells a run that was overtaken from a new one. */
  runStartedAt?: string;
}

/** A run of a job; every activity gets it. */
export interface JobRef {
  job: number;
  generation: number;
}

export interface ScanInput extends JobRef {
  /** The slice ends after about this many files, so that what was found can be sent meanwhile. */
  budget: number;
  /** As `JobPlan.quiet`. */
  quiet: number;
}

/** What the scan has found so far, from its beginning: repeated slices say the same. */
export interface ScanAnswer {
  done: boolean;
  /** Batches 1 to this exist. */
  batches: number;
  /** Large files found. */
  large: number;
  /** Files that are gone since the last run. */
  gone: number;
  /** Files found to be sent. */
  pending: number;
}

export interface CheckInput {
  id: string;
  /** A job that was deleted and made anew under its id is another. */
  job: number;
}

/** Whether a monitored folder has anything to send; looks only, and stops at the first change. */
export interface CheckAnswer {
  changed: boolean;
  /** Not asked for any more: the job is gone, or is not monitored. */
  over: boolean;
}

export interface BatchInput extends JobRef {
  batch: number;
}

export interface BatchResult {
  uploaded: number;
  failed: number;
  bytes: number;
  /** Left pending: changed while they were read, or told to stop first. */
  left: number;
  /** False when it was asked to stop first. */
  finished: boolean;
}

/** Heartbeat details of `uploadFiles`. */
export interface BatchHeartbeat {
  batch: number;
  files: number;
  bytes: number;
}

export interface LargeInput extends JobRef {
  /** Files with a number above this. */
  after: number;
  limit: number;
}

export interface LargeFile {
  file: number;
  /** Below the job's root, as `FileSource.path`. */
  path: string;
  key: string;
  size: number;
}

/** How the upload of a large file ended. */
export interface UploadOutcome {
  /** What the upload answered; without it `failure` says why. */
  result?: { size: number; etag: string; versionId?: string; checksum?: string; bytesSent: number };
  failure?: FailureView;
  /** The job was cancelled: the file stays pending. */
  cancelled?: boolean;
}

export interface LargeOutcome extends JobRef, UploadOutcome {
  file: number;
  uploadId: string;
}

/** Files of a run that are not in an end state go into new batches; those that were tried too often fail. */
export interface RegroupAnswer {
  batches: number;
  pending: number;
}

export interface DeletionLook {
  gone: number;
  /** Of the files that the last run knew. */
  share: number;
  /** More than the guard lets through. */
  tooMany: boolean;
}

export interface DeleteInput extends JobRef {
  /** The slice ends after about this many files. */
  budget: number;
}

export interface DeleteAnswer {
  /** Deleted by this slice. */
  deleted: number;
  /** Nothing is left to delete. */
  done: boolean;
}

/** What comparing the bucket with the rows found. */
export interface BucketCheck {
  /** Files that are PENDING again, for their objects are missing or different. */
  again: number;
}

export interface RegroupInput extends JobRef {
  /** Files that were tried so often fail. */
  maxAttempts: number;
  /** Files that had failed are tried again too. */
  failed: boolean;
}

export interface JobReport extends JobRef {
  state: JobState;
  phase: JobPhase;
  failure?: FailureView;
}

export interface FinishInput extends JobRef {
  state: JobState;
  failure?: FailureView;
}

/** The end of a run; counts come from the rows. */
export interface FinishAnswer {
  state: JobState;
  counts: JobCounts;
}

export type { JobPlan };

/** The input of `monitorJob`. */
export interface MonitorInput extends CheckInput {
  root: string;
}

export interface MonitorResult {
  changed: boolean;
  /** The schedule has deleted itself, for nobody asks for it any more. */
  over: boolean;
}
