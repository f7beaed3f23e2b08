/** What jobs ask of the catalog and of Temporal itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, WorkflowNotFoundError, type Client } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { uuidv7 } from 'uuidv7';
import { ERRORS, isErrorCode, LongshoreError, type ErrorCode, type FailureView } from '../core/errors.js';
import type { GrantTarget } from '../core/grants.js';
import { uploadWorkflowId } from '../core/ids.js';
import { keyOf } from '../core/job-keys.js';
import type {
  CheckInput,
  JobRef,
  LargeFile,
  LargeInput,
  OpenJobInput,
  UploadOutcome,
} from '../core/job-steps.js';
import type { JobPlan } from '../core/jobs.js';
import type { UploadResult } from '../core/uploads.js';
import { assertGranted } from '../infra/catalog/api-keys.js';
import * as files from '../infra/catalog/files.js';
import * as catalog from '../infra/catalog/jobs.js';
import type { Pool } from '../infra/catalog/pool.js';
import { getUpload } from '../infra/catalog/uploads.js';
import type { MonitorConfig } from '../infra/config-api.js';
import type { TemporalConfig } from '../infra/config.js';
import { temporalError } from '../infra/temporal/connection.js';
import { jobFingerprint, startJobRun } from '../infra/temporal/job-runs.js';
import { putMonitor, removeMonitorSchedule } from '../infra/temporal/monitors.js';
import { attempting } from './attempt.js';
import { mapFailures, viewOf } from './failures.js';
import type { JobOrchestrationActivities } from './jobs.js';

type Pace = Pick<JobPlan, 'batchesAtOnce' | 'largeAtOnce' | 'scanAhead' | 'maxAttempts' | 'maxEvents'>;

export interface JobOrchestrationDeps {
  db: Pool;
  installation: string;
  temporal: TemporalConfig;
  client: Client;
  /** For jobs that do not say it themselves. */
  monitor: MonitorConfig;
  pace?: Partial<Pace>;
}

/** Two batches keep one host busy while one of them ends; more did not make it faster. */
const PACE: Pace = { batchesAtOnce: 2, largeAtOnce: 2, scanAhead: 200, maxAttempts: 3, maxEvents: 3_500 };

const FOLLOW_MS = 500;

export function createJobOrchestrationActivities(deps: JobOrchestrationDeps): JobOrchestrationActivities {
  const { db } = deps;
  return mapFailures<JobOrchestrationActivities>({
    openJob: (input) => onlyRun(() => openJob(deps, input)),
    reportJob: (report) => catalog.reportJob(db, report),
    nextLarge: (input) => nextLarge(db, input),
    settleLarge: (outcome) => onlyRun(() => files.settleLarge(db, outcome)),
    followUpload: ({ uploadId }) => followUpload(deps, uploadId),
    regroup: ({ failed, maxAttempts, ...ref }) => {
      const statuses = failed ? (['PENDING', 'FAILED'] as const) : (['PENDING'] as const);
      return onlyRun(() => files.regroup(db, ref, { maxAttempts, statuses }));
    },
    setMonitor: (ref) => speaking(deps, 'setMonitor', () => setMonitor(deps, ref)),
    removeMonitor: (input) => speaking(deps, 'removeMonitor', () => removeMonitor(deps, input)),
    startSync: (input) => speaking(deps, 'startSync', () => startSync(deps, input)),
    finishJob: ({ state, failure, ...ref }) => onlyRun(() => catalog.finishJob(db, ref, { state, failure })),
  });
}

async function openJob(deps: JobOrchestrationDeps, input: OpenJobInput): Promise<JobPlan> {
  const { db, installation, monitor, pace } = deps;
  const fingerprint = input.definition === undefined ? '' : jobFingerprint(input.definition);
  const { job, generation, definition } = await catalog.openJob(db, installation, { ...input, fingerprint });
  const { monitored } = await rowOf(db, job);
  const { source, destination, apiKey, dryRun = false } = definition;
  const { bucket, prefix } = destination;
  if (apiKey !== undefined) await mustGrant(db, { job, generation }, apiKey, { bucket, prefix });
  return {
    ...{ job, generation, root: source.root, bucket, dryRun },
    ...(apiKey === undefined ? {} : { apiKey }),
    quiet: input.monitored === true ? (definition.monitor.stability ?? monitor.stability) : 0,
    monitor: monitored && !dryRun,
    deletions: definition.deletions !== undefined && input.mode !== 'retry',
    verify: definition.verify,
    ...PACE,
    ...pace,
    objects: definition.objects,
  };
}

/** A run that may write nothing ends here, in the catalog too: its workflow has not got as far as to say so. */
async function mustGrant(db: Pool, ref: JobRef, apiKey: string, target: GrantTarget): Promise<void> {
  try {
    await assertGranted(db, apiKey, target);
  } catch (error) {
    if (error instanceof LongshoreError && error.code === 'NotGranted')
      await catalog.finishJob(db, ref, { state: 'FAILED', failure: viewOf(error) });
    throw error;
  }
}

async function nextLarge(db: Pool, input: LargeInput): Promise<LargeFile[]> {
  const pending = await files.nextLarge(db, input);
  if (pending.length === 0) return [];
  const { definition } = await rowOf(db, input.job);
  const { source, destination } = definition;
  const folder = source.path === '' ? '' : `${source.path}/`;
  return pending.map(({ file, path, size, mtimeNs }) => ({
    ...{ file, size },
    path: folder + path,
    key: keyOf(destination, path, mtimeNs),
  }));
}

async function setMonitor(deps: JobOrchestrationDeps, { job }: JobRef): Promise<void> {
  const { id, definition, monitored } = await rowOf(deps.db, job);
  // Turned off meanwhile.
  if (!monitored) return;
  const interval = definition.monitor.interval ?? deps.monitor.interval;
  await putMonitor(deps.client, { input: { id, job, root: definition.source.root }, definition, interval });
}

async function removeMonitor({ db, client }: JobOrchestrationDeps, { id, job }: CheckInput): Promise<void> {
  const row = await catalog.getJob(db, id);
  // Made anew under the same id, and monitored again: its schedule is not ours to take.
  if (row !== undefined && row.no !== job && row.monitored) return;
  await removeMonitorSchedule(client, id);
  if (row?.no === job) await catalog.setMonitored(db, id, false);
}

async function startSync({ db, client }: JobOrchestrationDeps, { id, job }: CheckInput): Promise<void> {
  const row = await catalog.getJob(db, id);
  // Deleted, or not monitored any more, since it was looked at.
  if (row?.no !== job || !row.monitored) return;
  const { definition, fingerprint } = row;
  const input = { id, mode: 'sync' as const, monitored: true };
  await startJobRun(client, { input, definition, fingerprint, startedBy: uuidv7(), again: true });
}

/** Temporal tells how it ended; once it has forgotten, the catalog does. */
async function followUpload(deps: JobOrchestrationDeps, uploadId: string): Promise<UploadOutcome> {
  const handle = deps.client.workflow.getHandle(uploadWorkflowId(uploadId));
  return await attempting(async ({ signal }) => {
    for (;;) {
      const running = await speaking(deps, 'followUpload', async () => {
        const { status } = await handle.describe();
        return status.name === 'RUNNING';
      }).catch((error: unknown) => {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      });
      if (!running) break;
      await sleep(FOLLOW_MS, undefined, { signal });
    }
    try {
      return { result: pick((await handle.result()) as UploadResult) };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return await remembered(deps.db, uploadId);
      if (error instanceof WorkflowFailedError) return failed(uploadId, error);
      throw temporalError(deps.temporal, 'followUpload', error);
    }
  });
}

async function remembered(db: Pool, uploadId: string): Promise<UploadOutcome> {
  const row = await getUpload(db, uploadId);
  if (row?.state === 'COMPLETED' && row.etag !== null) {
    const { size, etag, versionId, checksum, bytesSent } = row;
    const optional = { versionId: versionId ?? undefined, checksum: checksum ?? undefined };
    return { result: pick({ size: size ?? 0, etag, bytesSent: bytesSent ?? 0, ...optional }) };
  }
  if (row?.state === 'CANCELLED') return { cancelled: true };
  return {
    failure: row?.failure ?? failureView('Terminated', `Temporal knows no upload ${uploadId} any more`),
  };
}

function failed(uploadId: string, { cause }: WorkflowFailedError): UploadOutcome {
  if (cause instanceof CancelledFailure) return { cancelled: true };
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const [details] = (cause.details ?? []) as (FailureView | undefined)[];
    return { failure: details ?? failureView(cause.type, cause.message) };
  }
  return {
    failure: failureView('Terminated', `the upload ${uploadId} ended early: ${cause?.message ?? ''}`),
  };
}

function pick(result: {
  size: number;
  etag: string;
  versionId?: string | undefined;
  checksum?: string | undefined;
  bytesSent: number;
}): NonNullable<UploadOutcome['result']> {
  const { size, etag, versionId, checksum, bytesSent } = result;
  return {
    ...{ size, etag, bytesSent },
    ...(versionId === undefined ? {} : { versionId }),
    ...(checksum === undefined ? {} : { checksum }),
  };
}

function failureView(code: ErrorCode, message: string): FailureView {
  return { code, message, hint: ERRORS[code].hint };
}

async function rowOf(db: Pool, job: number): Promise<catalog.JobRow> {
  const row = await catalog.getJobByNumber(db, job);
  if (row === undefined) {
    throw new LongshoreError('NotFound', `the job ${job} is not in the catalog any more`, { op: 'getJob' });
  }
  return row;
}

/** Of a job's workflow there is one run at a time: whom the catalog refuses now it will refuse for ever. */
async function onlyRun<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof LongshoreError) || error.code !== 'AttemptFenced') throw error;
    const message = `the job was deleted, or another run has it: ${error.message}`;
    throw new LongshoreError('NotRunning', message, { op: error.op, key: error.key, cause: error });
  }
}

/** Temporal's refusals as ours. */
async function speaking<T>(
  { temporal }: Pick<JobOrchestrationDeps, 'temporal'>,
  op: string,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw temporalError(temporal, op, error);
  }
}
