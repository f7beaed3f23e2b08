/** The table of upload jobs: their definitions and their runs. */
import { LongshoreError } from '../../core/errors.js';
import type { FailureView } from '../../core/errors.js';
import type { FinishAnswer, JobRef, JobReport, OpenJobInput } from '../../core/job-steps.js';
import type { JobCounts, JobDefinition, JobLimits } from '../../core/jobs.js';
import type { JobState } from '../../core/states.js';
import { jobEnded } from './ended.js';
import { fenced } from './fence.js';
import { countRows } from './job-counts.js';
import { getJob } from './job-rows.js';
import { query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';
import { printable } from './values.js';

export { jobCounts } from './job-counts.js';
export { getJob, getJobByNumber, listJobs } from './job-rows.js';
export type { JobRow, ListJobs } from './job-rows.js';

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

const ENDED = `('COMPLETED', 'FAILED', 'CANCELLED')`;

/** False when there is one with this id already, whatever its definition. */
export async function insertJob(db: Queryable, installation: string, job: NewJob): Promise<boolean> {
  const { definition, limits } = job;
  const { source, destination } = definition;
  const { rowCount } = await query(db, 'insertJob', {
    name: 'insert-job',
    text: `INSERT INTO upload_jobs (id, workflow_id, installation, source_folder, source_root, source_path,
        destination_bucket, destination_prefix, pattern, definition, fingerprint, state, monitored, bandwidth,
        concurrency, api_key)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'PENDING', $12, $13, $14, $15)
      ON CONFLICT (id) DO NOTHING`,
    values: [
      job.id,
      job.workflowId,
      installation,
      definition.sourceFolder,
      source.root,
      source.path,
      destination.bucket,
      destination.prefix,
      definition.filter.include?.join(',') ?? null,
      JSON.stringify(definition),
      job.fingerprint,
      definition.monitor.enabled,
      limits?.bandwidth ?? null,
      limits?.concurrency ?? null,
      definition.apiKey ?? null,
    ],
  });
  return rowCount === 1;
}

/**
 * A retry does not look at the folder, so what it starts from is counted here. The batches of the run before go in the
 * same statement: none of them may count for this one.
 */
const OPEN = `
WITH opened AS (
  UPDATE upload_jobs j SET run_id = $2, run_started_at = coalesce($3::timestamptz, now()),
    generation = generation + 1, state = 'IN_PROGRESS', phase = CASE WHEN $4 THEN 'transfer' ELSE 'scan' END,
    bandwidth = CASE WHEN $5 AND generation > 0 THEN $6 ELSE bandwidth END,
    concurrency = CASE WHEN $5 AND generation > 0 THEN $7 ELSE concurrency END,
    scan_cursor = NULL, scan_done = $4, scan_open = NULL, batches = 0,
    resent_files = 0, resent_bytes = 0, deleted_files = 0,
    scan_found = CASE WHEN $4 THEN (
      SELECT jsonb_build_object(
        'pendingFiles', count(*) FILTER (WHERE state = 'PENDING'),
        'pendingBytes', coalesce(sum(size) FILTER (WHERE state = 'PENDING'), 0),
        'largeFiles', count(*) FILTER (WHERE state = 'PENDING' AND large),
        'unchangedFiles', count(*) FILTER (WHERE state = 'UPLOADED'),
        'unchangedBytes', coalesce(sum(size) FILTER (WHERE state = 'UPLOADED'), 0),
        'failedFiles', count(*) FILTER (WHERE state = 'FAILED'),
        'failedBytes', coalesce(sum(size) FILTER (WHERE state = 'FAILED'), 0),
        'skippedFiles', count(*) FILTER (WHERE state = 'SKIPPED'))
      FROM files WHERE upload_job_id = j.no AND NOT gone) ELSE '{}' END,
    failure_code = NULL, failure_reason = NULL, failure_hint = NULL,
    started_at = now(), finished_at = NULL, updated_at = now()
  WHERE id = $1 AND run_id IS DISTINCT FROM $2 AND ($8::text IS NULL OR fingerprint = $8)
    AND ($3::timestamptz IS NULL OR run_started_at IS NULL OR run_started_at <= $3::timestamptz)
  RETURNING no
)
DELETE FROM upload_batches b USING opened WHERE b.upload_job_id = opened.no`;

/**
 * Gives a run its generation; the same run asking again gets the same answer. Throws NotFound when there is neither row
 * nor definition, Conflict for another definition, AttemptFenced for a run older than the one that has the job.
 */
export async function openJob(
  db: Queryable,
  installation: string,
  input: OpenJobInput & { fingerprint: string },
): Promise<OpenedJob> {
  const { id, definition, limits, fingerprint } = input;
  if (definition !== undefined) {
    const { workflowId } = input;
    await insertJob(db, installation, { id, workflowId, definition, fingerprint, limits });
  }
  await query(db, 'openJob', {
    name: 'open-job',
    text: OPEN,
    values: [
      id,
      input.runId,
      input.runStartedAt ?? null,
      input.mode === 'retry',
      limits !== undefined,
      limits?.bandwidth ?? null,
      limits?.concurrency ?? null,
      definition === undefined ? null : fingerprint,
    ],
  });
  const row = await getJob(db, id);
  if (row === undefined) {
    throw new LongshoreError('NotFound', `there is no job ${id}`, { op: 'openJob', key: id });
  }
  if (definition !== undefined && row.fingerprint !== fingerprint) {
    throw new LongshoreError('Conflict', `job ${id} has another definition`, { op: 'openJob', key: id });
  }
  const opened = { job: row.no, generation: row.generation };
  if (row.runId !== input.runId) throw fenced('openJob', opened);
  return { ...opened, definition: row.definition, limits: row.limits };
}

/** Changes nothing when a newer run has the job, or this one has ended. */
export async function reportJob(db: Queryable, report: JobReport): Promise<void> {
  await query(db, 'reportJob', {
    name: 'report-job',
    text: `UPDATE upload_jobs SET state = $3, phase = $4, failure_code = $5, failure_reason = $6, failure_hint = $7,
        finished_at = CASE WHEN $3 IN ${ENDED} THEN now() END, updated_at = now()
      WHERE no = $1 AND generation = $2 AND state NOT IN ${ENDED}`,
    values: [report.job, report.generation, report.state, report.phase, ...failureValues(report.failure)],
  });
}

interface Finished {
  state: JobState;
  counts: JobCounts;
  id: string;
  workflow_id: string;
  /** null for a job that no run has opened. */
  run_id: string | null;
  installation: string;
  definition: JobDefinition;
}

/**
 * Counts the rows and keeps the sums, and tells of the end of the run, if there was one. Repeated, it answers as before.
 * Throws AttemptFenced when a newer run has the job.
 */
export async function finishJob(
  db: Pool,
  ref: JobRef,
  end: { state: JobState; failure?: FailureView | undefined },
): Promise<FinishAnswer> {
  const counts = await countRows(db, ref);
  if (counts === undefined) throw fenced('finishJob', ref);
  return await transaction(db, 'finishJob', async (tx) => {
    const { rows } = await query<Finished>(tx, 'finishJob', {
      name: 'finish-job',
      text: `WITH idle AS (
          UPDATE upload_batches SET running = false WHERE upload_job_id = $1 AND running
            AND EXISTS (SELECT FROM upload_jobs WHERE no = $1 AND generation = $2)
        )
        UPDATE upload_jobs SET state = $3, phase = 'done', counts = $4, failure_code = $5, failure_reason = $6,
          failure_hint = $7, finished_at = coalesce(finished_at, now()), updated_at = now()
        WHERE no = $1 AND generation = $2
        RETURNING state, counts, id, workflow_id, run_id, installation, definition`,
      values: [ref.job, ref.generation, end.state, JSON.stringify(counts), ...failureValues(end.failure)],
    });
    const [row] = rows;
    if (row === undefined) throw fenced('finishJob', ref);
    const { id, state, definition } = row;
    if (row.run_id === null) return { state, counts: row.counts };
    await jobEnded(tx, row.installation, {
      ...{ id, state, counts: row.counts, failure: end.failure, generation: ref.generation },
      ...{ workflowId: row.workflow_id, runId: row.run_id },
      ...{
        ...definition.destination,
        sourceFolder: definition.sourceFolder,
        dryRun: definition.dryRun === true,
      },
    });
    return { state, counts: row.counts };
  });
}

function failureValues(failure: FailureView | undefined): (string | null)[] {
  if (failure === undefined) return [null, null, null];
  return [failure.code, failure.message, failure.hint].map(printable);
}

/** Sets the limits that are named, null for none. False when there is no such job. */
export async function setLimits(db: Queryable, id: string, limits: Partial<JobLimits>): Promise<boolean> {
  const { rowCount } = await query(db, 'setLimits', {
    name: 'set-limits',
    text: `UPDATE upload_jobs SET updated_at = now(),
        bandwidth = CASE WHEN $2 THEN $3 ELSE bandwidth END,
        concurrency = CASE WHEN $4 THEN $5 ELSE concurrency END
      WHERE id = $1`,
    values: [
      id,
      limits.bandwidth !== undefined,
      limits.bandwidth ?? null,
      limits.concurrency !== undefined,
      limits.concurrency ?? null,
    ],
  });
  return rowCount === 1;
}

/** `times` become part of the definition, which later runs go by; its fingerprint stays. False when there is no such job. */
export async function setMonitored(
  db: Queryable,
  id: string,
  on: boolean,
  times: Pick<JobDefinition['monitor'], 'interval' | 'stability'> = {},
): Promise<boolean> {
  const { rowCount } = await query(db, 'setMonitored', {
    name: 'set-monitored',
    text: `UPDATE upload_jobs SET monitored = $2, updated_at = now(),
      definition = jsonb_set(definition, '{monitor}', (definition -> 'monitor') || $3::jsonb) WHERE id = $1`,
    values: [id, on, JSON.stringify(times)],
  });
  return rowCount === 1;
}

/**
 * From now on `apiKey` answers for the job: what its next runs write is looked at by that key's grants. Nothing happens to
 * a job with another fingerprint. False when nothing had to be changed.
 */
export async function handOver(
  db: Queryable,
  job: { id: string; fingerprint: string },
  apiKey: string,
): Promise<boolean> {
  const { rowCount } = await query(db, 'handOver', {
    name: 'hand-over',
    text: `UPDATE upload_jobs SET api_key = $3::text, updated_at = now(),
        definition = jsonb_set(definition, '{apiKey}', to_jsonb($3::text))
      WHERE id = $1 AND fingerprint = $2 AND api_key IS DISTINCT FROM $3::text`,
    values: [job.id, job.fingerprint, apiKey],
  });
  return rowCount === 1;
}

/** Notes that the monitor has looked. */
export async function noteCheck(db: Queryable, job: number): Promise<void> {
  await query(db, 'noteCheck', {
    name: 'note-check',
    text: 'UPDATE upload_jobs SET checked_at = now() WHERE no = $1',
    values: [job],
  });
}

/** Rows of files in one statement: well within its time limit. */
const DELETE_SLICE = 20_000;

/**
 * With all its rows, in slices; a run that is still alive is fenced. Stopped half-way it goes on at the next call. False
 * when there is no such job.
 */
export async function deleteJob(db: Queryable, id: string): Promise<boolean> {
  const { rows } = await query<{ no: string }>(db, 'deleteJob', {
    text: 'UPDATE upload_jobs SET generation = generation + 1, monitored = false WHERE id = $1 RETURNING no',
    values: [id],
  });
  const no = rows[0]?.no;
  if (no === undefined) return false;
  // From the last path on, since the entries of rows just deleted still lie in the index before it.
  for (let after: string | null = ''; after !== null;) {
    const slice: { rows: { last: string | null }[] } = await query(db, 'deleteJob', {
      text: `WITH slice AS (
          SELECT path FROM files WHERE upload_job_id = $1 AND path > $2 ORDER BY path LIMIT ${DELETE_SLICE}
        ), deleted AS (
          DELETE FROM files f USING slice s WHERE f.upload_job_id = $1 AND f.path = s.path
        )
        SELECT max(path) AS last FROM slice`,
      values: [no, after],
    });
    after = slice.rows[0]?.last ?? null;
  }
  await query(db, 'deleteJob', { text: 'DELETE FROM upload_jobs WHERE no = $1', values: [no] });
  return true;
}
