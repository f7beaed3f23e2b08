/** Upload jobs as clients see them: start them, look at them, steer them. Reached as `LongshoreClient.jobs`. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowNotFoundError,
  type Client,
  type WorkflowExecutionDescription,
  type WorkflowHandle,
} from '@temporalio/client';
import type { SignalDefinition } from '@temporalio/common';
import { uuidv7 } from 'uuidv7';
import { LongshoreError, type FailureView } from '../core/errors.js';
import { jobWorkflowId } from '../core/ids.js';
import {
  approveSignal,
  JOB_PHASES,
  type JobDefinition,
  type JobLimits,
  type JobMemo,
  type JobPhase,
  type JobResult,
} from '../core/jobs.js';
import { isTerminal, JOB_STATES, type JobState } from '../core/states.js';
import { cancelSignal, pauseSignal, resumeSignal } from '../core/uploads.js';
import { validateJob, validateLimits, validateMonitor } from '../core/validate-jobs.js';
import { deleteJob, getJob, insertJob, setMonitored, type JobRow } from '../infra/catalog/jobs.js';
import type { Queryable } from '../infra/catalog/pool.js';
import type { TemporalConfig } from '../infra/config.js';
import { temporalError, webUiUrl } from '../infra/temporal/connection.js';
import { JOB_KEYS, jobFingerprint, startJobRun, type JobRun } from '../infra/temporal/job-runs.js';
import { pauseMonitor, putMonitor, removeMonitorSchedule } from '../infra/temporal/monitors.js';
import { unclaimedQueue } from './live-progress.js';
import { fromWorkflow, stateOf, terminated } from './outcomes.js';

export interface StartJob {
  /** A fresh one is made when left out. */
  id?: string | undefined;
  definition: JobDefinition;
  limits?: JobLimits | undefined;
  /** The catalog, which remembers jobs that Temporal has forgotten. The job is in it at once. */
  db?: Queryable | undefined;
  /** Whose row it is; default: the configured one's default. */
  installation?: string | undefined;
}

export interface StartedJob {
  id: string;
  workflowId: string;
  runId: string;
  webUi: string | undefined;
  /** False when this very job was there already, running or ended. */
  fresh: boolean;
}

/** What Temporal knows of a job's last run, with or without a living worker. Its figures are in the catalog. */
export interface JobView {
  id: string;
  workflowId: string;
  runId: string;
  state: JobState;
  phase: JobPhase;
  bucket: string | undefined;
  /** Why it is BLOCKED or FAILED. */
  failure: FailureView | undefined;
  startedAt: string;
  closedAt: string | undefined;
  historyEvents: number;
  webUi: string | undefined;
  /** The task queue on which something lies that no worker takes. */
  unclaimed: string | undefined;
}

/** On and off; a number is on, with so many seconds between two looks. */
export type MonitorSetting =
  boolean | number | { enabled: boolean; interval?: number | undefined; stability?: number | undefined };

const DEFAULT_INTERVAL_S = 60;
/** As long as another run waits for the one before it to close. */
const CLOSING_MS = 10_000;
/** As long as a deletion waits for the run that it stopped. */
const STOP_MS = 30_000;

export class JobsClient {
  constructor(
    private readonly config: TemporalConfig,
    private readonly client: Client,
  ) {}

  /**
   * Starts a job, or finds it: the same id and definition is the same job. Throws InvalidInput or KeyTooLong before
   * anything is started, Conflict when the id belongs to another definition.
   */
  async startJob({ id: asked, definition, limits, db, installation }: StartJob): Promise<StartedJob> {
    const id = asked ?? uuidv7();
    validateJob(definition, id);
    if (limits !== undefined) validateLimits(limits);
    const fingerprint = jobFingerprint(definition);
    const row = asked === undefined || db === undefined ? undefined : await getJob(db, id);
    if (row !== undefined && row.fingerprint !== fingerprint) throw conflict(id);
    const input = { id, mode: 'first' as const, definition, ...(limits === undefined ? {} : { limits }) };
    const run = { input, definition, fingerprint, startedBy: uuidv7(), again: false };
    const started =
      row?.state === 'COMPLETED' && row.runId !== null
        ? this.kept(row, row.runId)
        : await this.begin(run, db);
    // After the start: a row without a workflow would wait for ever. Also when another call began it, which may have
    // died before it came to this.
    if (db !== undefined && row === undefined) {
      const { workflowId } = started;
      await insertJob(db, installation ?? 'default', { id, workflowId, definition, fingerprint, limits });
    }
    return started;
  }

  /**
   * Another run of a job: `sync` looks at the folder again, `retry` sends what had failed. Joins a run that is under way
   * (`fresh: false`). Throws NotFound.
   */
  async runAgain(id: string, mode: 'sync' | 'retry', db: Queryable): Promise<StartedJob> {
    for (const end = Date.now() + CLOSING_MS; ; await sleep(50)) {
      const row = await this.row(id, db);
      const { definition, fingerprint } = row;
      const run = { input: { id, mode }, definition, fingerprint, startedBy: uuidv7(), again: true };
      const started = await this.begin(run, db);
      if (started.fresh || Date.now() > end || !(await this.isClosing(row))) return started;
    }
  }

  /** Throws NotFound when Temporal knows no such job (any more); the catalog may. */
  async viewJob(id: string): Promise<JobView> {
    return this.viewOf(id, await this.call('describe', id, (handle) => handle.describe()));
  }

  /** The result once the run ends. Throws what it failed with, Cancelled, or NotFound. */
  async result(id: string, runId?: string): Promise<JobResult> {
    try {
      return await this.call('result', id, (handle) => handle.result() as Promise<JobResult>, runId);
    } catch (error) {
      throw error instanceof WorkflowFailedError ? fromWorkflow(id, error, 'job') : error;
    }
  }

  /** Stops the run that is under way, and the looks at a monitored folder too, until `resume`. Throws NotRunning, NotFound. */
  async pause(id: string): Promise<void> {
    await this.withMonitor('pause', id, pauseSignal, true);
  }

  async resume(id: string): Promise<void> {
    await this.withMonitor('resume', id, resumeSignal, false);
  }

  async cancel(id: string): Promise<void> {
    await this.signal('cancel', id, cancelSignal);
    // A pause held the monitor too, and nobody would think of it again.
    await this.speak('cancel', () => pauseMonitor(this.client, id, false));
  }

  /** Lets the deletions go that a run waits for. */
  async approve(id: string): Promise<void> {
    await this.signal('approve', id, approveSignal);
  }

  /** Looks at the folder from now on, or no more. Repeating it is harmless. Throws NotFound, InvalidInput. */
  async setMonitor(id: string, setting: MonitorSetting, db: Queryable): Promise<void> {
    const given = settingOf(setting);
    validateMonitor(given);
    const { no: job, definition } = await this.row(id, db);
    if (!given.enabled) {
      await setMonitored(db, id, false);
      await this.speak('unmonitor', () => removeMonitorSchedule(this.client, id));
      return;
    }
    const { interval: asked, stability } = given;
    const times = {
      ...(asked === undefined ? {} : { interval: asked }),
      ...(stability === undefined ? {} : { stability }),
    };
    // First the row: a look that finds it off takes the schedule away.
    await setMonitored(db, id, true, times);
    const interval = asked ?? definition.monitor.interval ?? DEFAULT_INTERVAL_S;
    const input = { id, job, root: definition.source.root };
    await this.speak('monitor', async () => {
      await putMonitor(this.client, { input, definition, interval });
      await pauseMonitor(this.client, id, false);
    });
  }

  /**
   * Forgets a job: ends its monitoring, cancels a run that is under way and waits for it, deletes its rows. Objects stay.
   * Its id may be used for another job then. False when the catalog has no such job. Throws Conflict when the run has not
   * ended in time; call it again.
   */
  async deleteJob(id: string, db: Queryable): Promise<boolean> {
    if ((await getJob(db, id)) === undefined) return false;
    await setMonitored(db, id, false);
    await this.speak('delete', () => removeMonitorSchedule(this.client, id));
    await this.stop(id);
    return await deleteJob(db, id);
  }

  // ── Starting ───────────────────────────────────────────────────────────────────────────────────────────────────

  private async begin(run: JobRun, db: Queryable | undefined): Promise<StartedJob> {
    const { id } = run.input;
    let runId: string;
    try {
      runId = (await startJobRun(this.client, run)).firstExecutionRunId;
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError))
        throw temporalError(this.config, 'start', error);
      const forgotten = db !== undefined && (await getJob(db, id)) === undefined;
      // Temporal still knows a job that was deleted; its id is free.
      return forgotten ? await this.begin({ ...run, again: true }, db) : await this.known(run);
    }
    const { fresh } = await this.known(run);
    return this.started(id, runId, fresh);
  }

  /** The run that Temporal has. Throws Conflict when it is another job's. */
  private async known({ input: { id }, fingerprint, startedBy }: JobRun): Promise<StartedJob> {
    const { memo, runId } = await this.call('describe', id, (handle) => handle.describe());
    const kept = (memo ?? {}) as JobMemo;
    if (kept.fingerprint !== fingerprint) throw conflict(id);
    return this.started(id, runId, kept.startedBy === startedBy);
  }

  /** The run of this row has said that it ended: it looks at nothing any more, and is about to close. */
  private async isClosing({ id, state, runId }: JobRow): Promise<boolean> {
    if (!isTerminal(state)) return false;
    const describing = this.call('describe', id, (handle) => handle.describe());
    const known = await describing.catch(unlessGone);
    if (known === undefined || known.closeTime !== undefined) return true;
    return (known.raw.workflowExecutionInfo?.firstRunId || known.runId) === runId;
  }

  private kept({ id }: JobRow, runId: string): StartedJob {
    return this.started(id, runId, false);
  }

  private started(id: string, runId: string, fresh: boolean): StartedJob {
    const workflowId = jobWorkflowId(id);
    return { id, workflowId, runId, webUi: webUiUrl(this.config, workflowId, runId), fresh };
  }

  // ── Speaking to Temporal ───────────────────────────────────────────────────────────────────────────────────────

  private viewOf(id: string, description: WorkflowExecutionDescription): JobView {
    const memo = (description.memo ?? {}) as JobMemo;
    const { raw, workflowId, runId, typedSearchAttributes: attributes } = description;
    return {
      ...{ id, workflowId, runId },
      state: stateOf(description, attributes.get(JOB_KEYS.state), JOB_STATES),
      phase: JOB_PHASES.find((phase) => phase === memo.phase) ?? 'scan',
      bucket: attributes.get(JOB_KEYS.bucket),
      failure: description.status.name === 'TERMINATED' ? terminated(id, 'job') : (memo.failure ?? undefined),
      startedAt: description.startTime.toISOString(),
      closedAt: description.closeTime?.toISOString(),
      historyEvents: description.historyLength,
      webUi: webUiUrl(this.config, workflowId, runId),
      unclaimed: description.closeTime === undefined ? unclaimedQueue(raw) : undefined,
    };
  }

  private async signal(op: string, id: string, signal: SignalDefinition): Promise<void> {
    await this.call(op, id, (handle) => handle.signal(signal));
  }

  /** A monitored job need not run to be paused. */
  private async withMonitor(
    op: string,
    id: string,
    signal: SignalDefinition,
    paused: boolean,
  ): Promise<void> {
    const monitored = await this.speak(op, () => pauseMonitor(this.client, id, paused));
    try {
      await this.signal(op, id, signal);
    } catch (error) {
      if (!monitored) throw error;
      unlessGone(error);
    }
  }

  private async stop(id: string): Promise<void> {
    const end = Date.now() + STOP_MS;
    for (let told = false; ; told = true) {
      const view = await this.viewJob(id).catch(unlessGone);
      if (view === undefined || view.closedAt !== undefined) return;
      if (!told) await this.cancel(id).catch(unlessGone);
      if (Date.now() > end) {
        const message = `the run of ${id} has not ended within ${STOP_MS / 1000} seconds`;
        const hint = 'Delete it again in a while; or terminate the run in the Temporal Web UI.';
        throw new LongshoreError('Conflict', message, { op: 'delete', key: id, hint });
      }
      await sleep(100);
    }
  }

  private async row(id: string, db: Queryable): Promise<JobRow> {
    const row = await getJob(db, id);
    if (row === undefined) {
      throw new LongshoreError('NotFound', `there is no job ${id}`, { op: 'getJob', key: id });
    }
    return row;
  }

  private async speak<T>(op: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw temporalError(this.config, op, error);
    }
  }

  private async call<T>(
    op: string,
    id: string,
    step: (handle: WorkflowHandle) => Promise<T>,
    runId?: string,
  ): Promise<T> {
    try {
      return await step(this.client.workflow.getHandle(jobWorkflowId(id), runId));
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw temporalError(this.config, op, error);
      const ended = op !== 'describe' && op !== 'result' && (await this.viewJob(id).catch(unlessGone));
      const message = ended ? `the job ${id} does not run` : `Temporal knows no job ${id}`;
      throw new LongshoreError(ended ? 'NotRunning' : 'NotFound', message, { op, key: id, cause: error });
    }
  }
}

function unlessGone(error: unknown): undefined {
  if (error instanceof LongshoreError && ['NotFound', 'NotRunning'].includes(error.code)) return undefined;
  throw error;
}

function settingOf(setting: MonitorSetting): Exclude<MonitorSetting, boolean | number> {
  if (typeof setting === 'object') return setting;
  return typeof setting === 'number' ? { enabled: true, interval: setting } : { enabled: setting };
}

function conflict(id: string): LongshoreError {
  const message = `${jobWorkflowId(id)} belongs to a job with another definition`;
  return new LongshoreError('Conflict', message, { op: 'start', key: id });
}
