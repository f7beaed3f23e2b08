/** From a job that runs to what is printed of its end; `upload`, `sync`, `retry` and `watch` share it. */
import { EXIT, LongshoreError } from '../../core/errors.js';
import type { JobCounts, JobResult } from '../../core/jobs.js';
import type { JobState } from '../../core/states.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { LongshoreClient } from '../longshore-client.js';
import { asLongshoreError } from './failure.js';
import { followLooks, type WatcherOf } from './follow.js';
import { Detached, type Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import {
  LISTED_FAILURES,
  printJobFailed,
  printJobResult,
  type EndedJob,
  type FailedFile,
} from './job-outcome.js';
import type { JobLook } from './job-progress.js';
import type { JobCatalog } from './job-catalog.js';
import type { Screen } from './screen.js';
import { armCancel } from './watching.js';

export interface JobWatch {
  io: Io;
  client: LongshoreClient;
  catalog: JobCatalog;
  job: EndedJob & { runId: string | undefined };
  screen: Screen<[JobLook]>;
  interrupts: Interrupts;
  /** Ctrl-C pressed twice cancels; otherwise it only leaves. */
  mayCancel: boolean;
  seconds: () => number;
}

/** Prints the end of the run and answers the exit code. */
export async function watchJob(options: JobWatch): Promise<number> {
  const { io, client, catalog, job, screen, interrupts, mayCancel, seconds } = options;
  io.brokenPipeCode = EXIT.detached;
  const cancel = mayCancel ? () => client.jobs.cancel(job.id) : undefined;
  const cancelling = armCancel('job', interrupts, (line) => screen.say(line), cancel);
  let ended: { result: JobResult } | { error: LongshoreError };
  try {
    const looks = {
      look: looker(options),
      result: () => client.jobs.result(job.id, job.runId),
    };
    ended = { result: await followLooks(looks, announcer(options), interrupts.signal) };
  } catch (error) {
    if (error instanceof Detached) return left(options);
    // A cancel that could not be delivered is why nobody waits any longer.
    ended = { error: asLongshoreError(cancelling.failure ?? error) };
  } finally {
    screen.end();
  }
  const took = seconds();
  if ('error' in ended) {
    return printJobFailed(io, job, ended.error, await countsOf(io, catalog, job.id), took);
  }
  const failures = ended.result.failedFiles === 0 ? [] : await failuresOf(io, catalog, job.id);
  return printJobResult(io, job, ended.result, failures, took);
}

/** What Temporal says of the run, with the catalog's figures beside it. */
function looker({ client, catalog, job, screen }: JobWatch): () => Promise<[JobLook]> {
  let counts: JobCounts | undefined;
  let looks = 0;
  let warned = false;
  const count = async (): Promise<void> => {
    // A small job is over before its figures matter, and the connection would take its time.
    if ((looks += 1) === 1) return;
    try {
      counts = await catalog.counts(job.id);
    } catch (error) {
      if (!warned) screen.say(`warning: the figures stand still: ${asLongshoreError(error).message}`);
      warned = true;
    }
  };
  return async () => {
    const [view] = await Promise.all([client.jobs.viewJob(job.id), count()]);
    const { id, state, phase, failure, unclaimed } = view;
    return [{ id, state, phase, failure, unclaimed, counts }];
  };
}

function left({ io, job }: JobWatch): number {
  const { id, webUi } = job;
  if (io.json) io.outJson({ type: 'detached', id, webUi: webUi ?? null });
  io.err(`Detached; the job ${id} goes on.`);
  io.err(`  longshore watch ${id}    follow it again`);
  io.err(`  longshore cancel ${id}   stop it`);
  return EXIT.detached;
}

/** Says what changes, once. */
function announcer({ screen, job: { id } }: JobWatch): WatcherOf<[JobLook]> {
  let state: JobState | undefined;
  const warned = new Set<string>();
  return {
    update(look: JobLook): void {
      if (look.unclaimed !== undefined && !warned.has(look.unclaimed)) {
        warned.add(look.unclaimed);
        screen.say(
          `warning: no worker takes tasks from the queue ${look.unclaimed}: start one with \`longshore worker\``,
        );
      }
      if (look.state !== state) announce(look, state);
      state = look.state;
      screen.progress(look);
    },
    silent: (why) => screen.say(`warning: Temporal does not answer (${why}); still trying. The job is safe.`),
    answered: () => screen.say('Temporal answers again.'),
  };

  function announce({ state: now, failure }: JobLook, before: JobState | undefined): void {
    if (now === 'PAUSED') {
      screen.say(`Paused. Next: \`longshore resume ${id}\``);
    } else if (now === 'BLOCKED') {
      const reason = failure === undefined ? 'no reason given' : `${failure.message} (${failure.code})`;
      const hint = failure === undefined ? '' : `\nhint: ${failure.hint}`;
      screen.say(`Blocked: ${reason}${hint}\nNext: \`longshore ${wayOut(failure?.code)} ${id}\``);
    } else if (before === 'PAUSED' || before === 'BLOCKED') {
      screen.say('It goes on.');
    }
  }
}

/** Deletions wait for a person's word, everything else for a repair. */
export function wayOut(code: string | undefined): 'approve' | 'resume' {
  return code === 'TooManyDeletions' ? 'approve' : 'resume';
}

/** The end is told also when the catalog cannot say more about it. */
async function countsOf(io: Io, catalog: JobCatalog, id: string): Promise<JobCounts | undefined> {
  try {
    return await catalog.counts(id);
  } catch (error) {
    io.err(`warning: ${asLongshoreError(error).message}`);
    return undefined;
  }
}

async function failuresOf(io: Io, catalog: JobCatalog, id: string): Promise<readonly FailedFile[]> {
  try {
    return await catalog.failures(id, LISTED_FAILURES);
  } catch (error) {
    io.err(`warning: which files failed cannot be listed: ${asLongshoreError(error).message}`);
    return [];
  }
}

/** A job that has ended and that Temporal has forgotten: the catalog tells how. */
export async function printJobRow(io: Io, catalog: JobCatalog, row: JobRow): Promise<number> {
  const job = { id: row.id, to: destinationOf(row), webUi: undefined };
  const seconds = secondsOf(row);
  const counts = row.counts ?? (await catalog.counts(row.id));
  if (row.state !== 'COMPLETED' || counts === undefined) {
    return printJobFailed(io, job, failureOfJob(row), counts, seconds);
  }
  const failures = counts.failedFiles === 0 ? [] : await failuresOf(io, catalog, row.id);
  const result = { ...counts, state: row.state, generation: row.generation };
  return printJobResult(io, job, result, failures, seconds);
}

export function destinationOf({ definition: { destination } }: Pick<JobRow, 'definition'>): string {
  return `s3://${destination.bucket}/${destination.prefix}`;
}

export function secondsOf({ startedAt, finishedAt }: Pick<JobRow, 'startedAt' | 'finishedAt'>): number {
  if (startedAt === null) return 0;
  const end = finishedAt === null ? Date.now() : Date.parse(finishedAt);
  return Math.max(0, (end - Date.parse(startedAt)) / 1000);
}

function failureOfJob({ id, state, failure }: JobRow): LongshoreError {
  if (state === 'CANCELLED') {
    return new LongshoreError('Cancelled', `the job ${id} was cancelled`, { op: 'job', key: id });
  }
  const { code, message, op, key, hint } = failure ?? {
    ...{ code: 'Internal' as const, message: 'no reason was recorded', op: 'job', key: id, hint: undefined },
  };
  return new LongshoreError(code, message, { op: op ?? 'job', key: key ?? id, hint });
}
