/** The table of upload jobs: their definitions, their runs, and how far these are. */
import type { FailureView } from '../../core/errors.js';
import type { FinishAnswer, JobRef, JobReport, OpenJobInput } from '../../core/job-steps.js';
import type { JobCounts, JobDefinition, JobLimits, JobPhase } from '../../core/jobs.js';
import type { JobState } from '../../core/states.js';
import type { Pool, Queryable } from './pool.js';

/** Times ISO 8601 in UTC; null where nothing is known (yet). */
export interface JobRow {
  id: string;
  /** The job's number, as JobRef and the rows of files have it. */
  no: number;
  workflowId: string;
  runId: string | null;
  installation: string;
  sourceFolder: string;
  sourceRoot: string;
  sourcePath: string;
  destinationBucket: string;
  destinationPrefix: string;
  /** The include globs, with commas between them. */
  pattern: string | null;
  definition: JobDefinition;
  fingerprint: string;
  state: JobState;
  phase: JobPhase;
  generation: number;
  monitored: boolean;
  limits: JobLimits;
  scanDone: boolean;
  batches: number;
  /** As of the end of the last run; null before the first has ended. For a running job ask `jobCounts`. */
  counts: JobCounts | null;
  failure: FailureView | null;
  apiKey: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  checkedAt: string | null;
  updatedAt: string;
}

export interface NewJob {
  id: string;
  workflowId: string;
  definition: JobDefinition;
  fingerprint: string;
  limits?: JobLimits | undefined;
}

export interface OpenedJob {
  job: number;
  generation: number;
  definition: JobDefinition;
  limits: JobLimits;
}

export interface ListJobs {
  state?: JobState | undefined;
  bucket?: string | undefined;
  monitored?: boolean | undefined;
  apiKey?: string | undefined;
  /** Rows of one page, 1 to 1,000. */
  limit: number;
  /** `next` of the page before. */
  cursor?: string | undefined;
}

/** False when there is one with this id already, whatever its definition. */
export declare function insertJob(db: Queryable, installation: string, job: NewJob): Promise<boolean>;
/**
 * Gives a run its generation; the same run asking again gets the same answer. Throws NotFound when there is neither row
 * nor definition, Conflict for another definition, AttemptFenced for a run older than the one that has the job.
 */
export declare function openJob(
  db: Queryable,
  installation: string,
  input: OpenJobInput & { fingerprint: string },
): Promise<OpenedJob>;
/** Changes nothing when a newer run has the job, or this one has ended. */
export declare function reportJob(db: Queryable, report: JobReport): Promise<void>;
/** Counts the rows and keeps the sums. Repeated, it answers as before. Throws AttemptFenced when a newer run has the job. */
export declare function finishJob(
  db: Queryable,
  ref: JobRef,
  end: { state: JobState; failure?: FailureView | undefined },
): Promise<FinishAnswer>;
export declare function getJob(db: Queryable, id: string): Promise<JobRow | undefined>;
export declare function getJobByNumber(db: Queryable, job: number): Promise<JobRow | undefined>;
/** Newest first. Throws InvalidInput for a bad cursor or limit. */
export declare function listJobs(db: Queryable, ask: ListJobs): Promise<{ rows: JobRow[]; next?: string }>;
/** How far each job is: live while it runs, as stored when it has ended. Unknown numbers are left out. */
export declare function jobCounts(db: Queryable, jobs: readonly number[]): Promise<Map<number, JobCounts>>;
/** Sets the limits that are named, null for none. False when there is no such job. */
export declare function setLimits(db: Queryable, id: string, limits: Partial<JobLimits>): Promise<boolean>;
/** False when there is no such job. */
export declare function setMonitored(db: Queryable, id: string, on: boolean): Promise<boolean>;
/** Notes that the monitor has looked. */
export declare function noteCheck(db: Queryable, job: number): Promise<void>;
/** With all its rows; a run that is still alive is fenced. False when there is no such job. */
export declare function deleteJob(db: Pool, id: string): Promise<boolean>;
