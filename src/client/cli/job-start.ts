/** Begins a job or joins the one that there is, and follows it: what `upload`, `sync` and `retry` share. */
import { isDeepStrictEqual } from 'node:util';
import { EXIT, LongshoreError } from '../../core/errors.js';
import type { JobDefinition, JobLimits } from '../../core/jobs.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { LongshoreClient } from '../longshore-client.js';
import { jsonError } from './failure.js';
import type { Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import type { JobCatalog } from './job-catalog.js';
import { JobDrawing } from './job-progress.js';
import { watchJob } from './job-watching.js';
import { screenOf } from './screen.js';

export interface JobRequest {
  id: string;
  definition: JobDefinition;
  limits: Partial<JobLimits>;
}

export interface Begun {
  id: string;
  workflowId: string;
  runId: string;
  webUi: string | undefined;
  /** `first` and `sync` were begun by this command; `joined` was running. */
  how: 'first' | 'sync' | 'retry' | 'joined';
}

/**
 * The first run of a job that is new; another look at one that has ended; or the run that is under way. Throws Conflict
 * when the id belongs to another folder, destination or options.
 */
export async function begin(
  client: LongshoreClient,
  catalog: JobCatalog,
  request: JobRequest,
): Promise<Begun> {
  const { id, definition, limits } = request;
  const row = await catalog.row(id);
  if (row === undefined) return await first(client, catalog, request);
  if (!sameJob(row.definition, definition)) throw conflict(row);
  const { setLimits } = await import('../../infra/catalog/jobs.js');
  if (Object.keys(limits).length > 0) await setLimits(await catalog.pool(), id, limits);
  if (definition.monitor.enabled) await monitor(client, catalog, row, definition);
  return await again(client, catalog, id, 'sync');
}

async function first(client: LongshoreClient, catalog: JobCatalog, request: JobRequest): Promise<Begun> {
  const { id, definition, limits } = request;
  const both = { bandwidth: null, concurrency: null, ...limits };
  const db = await catalog.pool();
  const { fresh, ...started } = await client.jobs.startJob({
    ...{ id, definition, limits: both, db },
    installation: catalog.installation,
  });
  return { ...started, how: fresh ? 'first' : 'joined' };
}

/** Another run, or the one that is under way. */
export async function again(
  client: LongshoreClient,
  catalog: JobCatalog,
  id: string,
  mode: 'sync' | 'retry',
): Promise<Begun> {
  const { fresh, ...started } = await client.jobs.runAgain(id, mode, await catalog.pool());
  return { ...started, how: fresh ? mode : 'joined' };
}

/** Whether checks are wanted is no part of what a job is: it may change, and the rest may not. */
function sameJob(kept: JobDefinition, asked: JobDefinition): boolean {
  return isDeepStrictEqual(essence(kept), essence(asked));
}

function essence({ monitor: _, sourceFolder: __, apiKey: ___, ...rest }: JobDefinition): unknown {
  // The catalog keeps JSON, which knows no undefined.
  return JSON.parse(JSON.stringify(rest));
}

async function monitor(
  client: LongshoreClient,
  catalog: JobCatalog,
  { id, monitored, definition }: JobRow,
  { monitor: { interval, stability } }: JobDefinition,
): Promise<void> {
  const kept = definition.monitor;
  const same =
    (interval ?? kept.interval) === kept.interval && (stability ?? kept.stability) === kept.stability;
  if (monitored && same) return;
  await client.jobs.setMonitor(id, { enabled: true, interval, stability }, await catalog.pool());
}

function conflict({ id, sourceFolder, definition: { destination } }: JobRow): LongshoreError {
  const to = `s3://${destination.bucket}/${destination.prefix}`;
  return new LongshoreError(
    'Conflict',
    `the job ${id} (${sourceFolder} → ${to}) was begun with other options`,
    {
      ...{ op: 'start', key: id },
      hint: 'Use the same options as then, or give the new job an id of its own with --id.',
    },
  );
}

export interface FollowOptions {
  detach?: boolean | undefined;
  quiet?: boolean | undefined;
}

export interface Following {
  io: Io;
  client: LongshoreClient;
  catalog: JobCatalog;
  interrupts: Interrupts;
  /** `s3://bucket/prefix`. */
  to: string;
  from: string;
  seconds: () => number;
}

/** Announces the run and follows it to its end, unless it was to be left alone. */
export async function announceAndFollow(
  begun: Begun,
  options: FollowOptions,
  rest: Following,
): Promise<number> {
  const { io, client, catalog, interrupts, to, seconds } = rest;
  announce(io, begun, options, rest);
  if (options.detach === true) return detached(io, begun);
  const screen = screenOf(io, options, new JobDrawing());
  const job = { id: begun.id, runId: begun.runId, webUi: begun.webUi, to };
  return await watchJob({ io, client, catalog, job, screen, interrupts, mayCancel: true, seconds });
}

const SAID = {
  first: (id: string) => `Job ${id}`,
  sync: (id: string) => `Job ${id}, looking for what changed`,
  retry: (id: string) => `Job ${id}, sending again what failed`,
  joined: (id: string) => `Job ${id} was running already; following it`,
} as const;

function announce(io: Io, begun: Begun, { quiet }: FollowOptions, { from, to }: Following): void {
  const { id, workflowId, runId, webUi, how } = begun;
  if (io.json) {
    io.outJson({
      type: 'started',
      id,
      workflowId,
      runId,
      how,
      folder: from,
      destination: to,
      webUi: webUi ?? null,
    });
    return;
  }
  if (quiet === true) return;
  io.err(`${from} → ${to}`);
  io.err(SAID[how](id));
  if (webUi !== undefined) io.err(`Web UI ${webUi}`);
}

function detached(io: Io, { id }: Begun): number {
  if (io.json) return EXIT.ok;
  io.out(id);
  io.err(`Next: \`longshore watch ${id}\` or \`longshore status ${id}\``);
  return EXIT.ok;
}

export function beforeStart(io: Io): number {
  if (io.json) {
    const error = new LongshoreError('Cancelled', 'stopped before anything was started', { op: 'start' });
    io.outJson({ error: jsonError(error) });
  } else io.err('Stopped before anything was started.');
  return EXIT.cancelled;
}
