/**
 * The contract of an upload job: a folder's way into a bucket. Definitions, options and results are small; the list of
 * files is in the catalog.
 */
import type { QueryDefinition, SignalDefinition } from '@temporalio/common';
import type { FailureView } from './errors.js';
import type { ScanAnswer } from './job-steps.js';
import type { FileState, JobState } from './states.js';
import type { UploadOptions } from './uploads.js';

// ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────────

/** A folder under a named root. `path` is relative to it, with `/` between its parts; '' is the root itself. */
export interface JobSource {
  root: string;
  path: string;
}

export interface JobDestination {
  bucket: string;
  /** Put before every key as it is; '' for none. A folder-like prefix ends in `/`. */
  prefix: string;
  /** Makes a key (after the prefix) from a file; default `{path}`. See core/job-keys. */
  keyTemplate?: string;
}

export interface JobFilter {
  /** Globs on the path below the folder (`**` crosses folders); a file must match one of them. None: every file. */
  include?: string[];
  exclude?: string[];
  /** Names that begin with a dot, and what lies under such folders; default true. */
  hidden?: boolean;
  /** Bytes, both included. */
  minSize?: number;
  maxSize?: number;
  /** Seconds since the file was last modified. */
  minAge?: number;
  maxAge?: number;
  /** `skip` (default) leaves links out, each with a reason; `follow` goes where they lead while that is under the root. */
  symlinks?: 'skip' | 'follow';
  /** Empty folders become empty objects whose key ends in `/`; default false. */
  emptyFolders?: boolean;
}

/** How each object is written. The rest of an upload's options makes no sense for many objects. */
export type JobObjectOptions = Pick<
  UploadOptions,
  'contentType' | 'cacheControl' | 'metadata' | 'tags' | 'storageClass' | 'checksum' | 'encryption'
>;

export interface JobMonitoring {
  /** Checks for changes once the job is complete; default true through the API, false for `longshore upload`. */
  enabled: boolean;
  /** Seconds between checks; default FILE_MONITOR_INTERVAL, 60. */
  interval?: number;
  /** Seconds that a file must have been left alone before a change counts; default 5. */
  stability?: number;
}

export interface JobDefinition {
  source: JobSource;
  /** As it was asked for, for people to read. */
  sourceFolder: string;
  destination: JobDestination;
  filter: JobFilter;
  objects: JobObjectOptions;
  monitor: JobMonitoring;
  /** What tells that a file is the one that was uploaded: size and modification time, or its CRC32 too. */
  compare: 'mtime' | 'checksum';
  /** Compares what the catalog says with the bucket, and sends again what is missing or different there. */
  verify: boolean;
  /** Objects of files that are gone are deleted; a run that would delete more than this share waits for `approve`. */
  deletions?: { maxShare: number };
  /** Says what would go, and sends nothing. */
  dryRun?: boolean;
  /** The key that asked; what it may write to is looked at again by the worker. */
  apiKey?: string;
}

/** Limits that can be changed while a job runs; they hold for all workers together. null: no limit. */
export interface JobLimits {
  /** Bytes a second. */
  bandwidth: number | null;
  /** Files in flight. */
  concurrency: number | null;
}

/**
 * - `first`: the run that a definition begins.   - `sync`: looks at the folder again, and sends what changed.
 * - `retry`: sends what had failed, without looking at the folder.
 */
export type JobRunMode = 'first' | 'sync' | 'retry';

export interface UploadJobInput {
  id: string;
  mode: JobRunMode;
  /** Only with `first`; afterwards the catalog has it. */
  definition?: JobDefinition;
  limits?: JobLimits;
  /** Begun by the monitor: only changes that were left alone for the stability threshold count. */
  monitored?: boolean;
  /** What an earlier run of this workflow hands over when it continues as new. */
  carried?: CarriedJob;
}

// ── What it answers ──────────────────────────────────────────────────────────────────────────────────────────────

export interface JobCounts {
  /** Files that belong to the job: all but those that were skipped or are gone. */
  totalFiles: number;
  totalBytes: number;
  /** In the bucket, unchanged ones included. */
  completedFiles: number;
  completedBytes: number;
  failedFiles: number;
  skippedFiles: number;
  /** Sent by this run. */
  sentFiles: number;
  sentBytes: number;
  /** Found as they were by this run. */
  unchangedFiles: number;
  deletedFiles: number;
}

export interface JobResult extends JobCounts {
  state: JobState;
  /** Rises with each run that changed something. */
  generation: number;
}

export interface JobStatus {
  state: JobState;
  phase: JobPhase;
  failure?: FailureView;
}

export const JOB_PHASES = ['scan', 'transfer', 'delete', 'verify', 'done'] as const;
export type JobPhase = (typeof JOB_PHASES)[number];

/** One file of a job as lists show it. */
export interface JobFile {
  path: string;
  state: FileState;
  key: string | null;
  size: number | null;
  /** ISO 8601. */
  mtime: string | null;
  attempts: number;
  failureCode: string | null;
  failureReason: string | null;
  /** `crc32:<base64>`. */
  checksum: string | null;
  etag: string | null;
  versionId: string | null;
  createdAt: string;
  updatedAt: string;
}

// ── What goes from one run to the next ───────────────────────────────────────────────────────────────────────────

/** Ids, counts and cursors; never a list that grows with the folder. */
export interface CarriedJob {
  plan: JobPlan;
  scan: ScanAnswer;
  /** Batches up to the scan's exist; those below this were given out and have ended. */
  nextBatch: number;
  /** Large files that are on their way, by the id of their upload. */
  large: { uploadId: string; file: number }[];
  tally: JobTally;
  stage: JobStage;
  /** Tries of the files that changed while they were sent. */
  round: number;
  approved: boolean;
  /** The bucket was compared already. */
  compared: boolean;
  phase: JobPhase;
  paused: boolean;
}

/** The steps of a run in their order. */
export const JOB_STAGES = ['send', 'delete', 'again', 'verify'] as const;
export type JobStage = (typeof JOB_STAGES)[number];

/** What this run has sent, as its workflow counts it. */
export interface JobTally {
  files: number;
  bytes: number;
  failed: number;
  /** Left pending by batches that have ended. */
  left: number;
}

/** What `openJob` decides for a run: recorded in history, so that a replay reads neither catalog nor configuration. */
export interface JobPlan {
  /** The job's number in the catalog. */
  job: number;
  generation: number;
  root: string;
  bucket: string;
  /** The key that asked, for the uploads of large files. */
  apiKey?: string;
  /** Seconds that a changed file must have been left alone; 0: none. */
  quiet: number;
  /** Is to be looked at again on its own, so what changes just now is left for then. */
  monitor: boolean;
  deletions: boolean;
  verify: boolean;
  dryRun: boolean;
  /** Batches and large files that are on their way at once. */
  batchesAtOnce: number;
  largeAtOnce: number;
  /** Batches that the scan may be ahead of those that were sent. */
  scanAhead: number;
  /** Tries of a file that changes while it is sent. */
  maxAttempts: number;
  /** The run continues as a new one when its history has so many events. */
  maxEvents: number;
  /** The object options of every large file's upload. */
  objects: JobObjectOptions;
}

// ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

const signal = (name: string): SignalDefinition => ({ type: 'signal', name }) as SignalDefinition;
const query = <T>(name: string): QueryDefinition<T> => ({ type: 'query', name }) as QueryDefinition<T>;

export const JOB_WORKFLOW = 'uploadJob';
export const MONITOR_WORKFLOW = 'monitorJob';
/** `cancel`, `pause` and `resume` are those of uploads. */
export const approveSignal = signal('approve');
export const jobStatusQuery = query<JobStatus>('state');

/** Memo fields of a job's workflow. */
export interface JobMemo {
  /** SHA-256 of the canonical definition: the same id with another one is a conflict. */
  fingerprint?: string;
  startedBy?: string;
  phase?: JobPhase;
  failure?: FailureView | null;
}
