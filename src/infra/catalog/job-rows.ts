/** Upload jobs as lists and answers show them. */
import { isErrorCode } from '../../core/errors.js';
import type { FailureView } from '../../core/errors.js';
import type { JobCounts, JobDefinition, JobLimits, JobPhase } from '../../core/jobs.js';
import type { JobState } from '../../core/states.js';
import { readPage } from './paging.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { numberOrNull, timeOrNull } from './values.js';

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
  /** When the monitor looked last. */
  checkedAt: string | null;
  updatedAt: string;
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

export async function getJob(db: Queryable, id: string): Promise<JobRow | undefined> {
  const { rows } = await query<RawJob>(db, 'getJob', {
    name: 'get-job',
    text: 'SELECT * FROM upload_jobs WHERE id = $1',
    values: [id],
  });
  return rows[0] === undefined ? undefined : toJobRow(rows[0]);
}

export async function getJobByNumber(db: Queryable, job: number): Promise<JobRow | undefined> {
  const { rows } = await query<RawJob>(db, 'getJobByNumber', {
    name: 'get-job-by-number',
    text: 'SELECT * FROM upload_jobs WHERE no = $1',
    values: [job],
  });
  return rows[0] === undefined ? undefined : toJobRow(rows[0]);
}

/** Newest first. Throws InvalidInput for a bad cursor or limit. */
export async function listJobs(db: Queryable, ask: ListJobs): Promise<{ rows: JobRow[]; next?: string }> {
  const { state, bucket, monitored, apiKey } = ask;
  const filters = { state, destination_bucket: bucket, monitored, api_key: apiKey };
  const idOf = ({ id }: JobRow): string => id;
  const list = { op: 'listJobs', from: 'upload_jobs', filters, toRow: toJobRow, idOf };
  const { rows, nextCursor } = await readPage(db, list, ask);
  return nextCursor === null ? { rows } : { rows, next: nextCursor };
}

/** As pg gives it: bigint as text, times as Date. */
interface RawJob {
  id: string;
  no: string;
  workflow_id: string;
  run_id: string | null;
  installation: string;
  source_folder: string;
  source_root: string;
  source_path: string;
  destination_bucket: string;
  destination_prefix: string;
  pattern: string | null;
  definition: JobDefinition;
  fingerprint: string;
  state: JobState;
  phase: JobPhase;
  generation: number;
  monitored: boolean;
  bandwidth: string | null;
  concurrency: number | null;
  scan_done: boolean;
  batches: number;
  counts: JobCounts | null;
  failure_code: string | null;
  failure_reason: string | null;
  failure_hint: string | null;
  api_key: string | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  checked_at: Date | null;
  updated_at: Date;
}

function toJobRow(raw: RawJob): JobRow {
  return {
    id: raw.id,
    no: Number(raw.no),
    workflowId: raw.workflow_id,
    runId: raw.run_id,
    installation: raw.installation,
    sourceFolder: raw.source_folder,
    sourceRoot: raw.source_root,
    sourcePath: raw.source_path,
    destinationBucket: raw.destination_bucket,
    destinationPrefix: raw.destination_prefix,
    pattern: raw.pattern,
    definition: raw.definition,
    fingerprint: raw.fingerprint,
    state: raw.state,
    phase: raw.phase,
    generation: raw.generation,
    monitored: raw.monitored,
    limits: { bandwidth: numberOrNull(raw.bandwidth), concurrency: raw.concurrency },
    scanDone: raw.scan_done,
    batches: raw.batches,
    counts: raw.counts,
    failure: toFailure(raw),
    apiKey: raw.api_key,
    createdAt: raw.created_at.toISOString(),
    startedAt: timeOrNull(raw.started_at),
    finishedAt: timeOrNull(raw.finished_at),
    checkedAt: timeOrNull(raw.checked_at),
    updatedAt: raw.updated_at.toISOString(),
  };
}

function toFailure(raw: RawJob): FailureView | null {
  if (raw.failure_code === null) return null;
  return {
    // A newer Longshore may have written a code that this one does not know.
    code: isErrorCode(raw.failure_code) ? raw.failure_code : 'Internal',
    message: raw.failure_reason ?? '',
    hint: raw.failure_hint ?? '',
  };
}
