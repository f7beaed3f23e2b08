/** Starts the Temporal workers of one process, and ends them. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { QUEUES, rootQueue } from '../core/ids.js';
import { MAX_IN_FLIGHT_BYTES } from '../core/limits.js';
import { assertSchema } from '../infra/catalog/migrations.js';
import type { Config } from '../infra/config.js';
import type { Logger } from '../infra/telemetry/log.js';
import { connectionOptions } from '../infra/temporal/connection.js';
import { retrying } from './retrying.js';
import { createWorkerDeps } from './deps.js';
import { ensureRelays } from './relays.js';
import { scheduleSweeps } from './sweeps.js';
import { workflowTracer, type WorkerTelemetry } from './telemetry.js';

export interface RunningWorker {
  queues: string[];
  /** Ends when the workers have ended; rejects when one broke down. */
  finished: Promise<void>;
  /** True while every Temporal worker polls. */
  ready(): boolean;
  /** Takes nothing new, and gives what runs its grace time. */
  shutdown: () => void;
}

/** Queues by the names that `--queues` takes: orchestration, transfer, transfer@ROOT. */
export function defaultQueues(config: Config): string[] {
  return [QUEUES.orchestration, QUEUES.transfer, ...Object.keys(config.roots).map(rootQueue)];
}

/** How many activities may move bytes at once: each holds at most MAX_IN_FLIGHT_BYTES of the budget. */
export function transferSlots(config: Config): number {
  return (
    config.worker.concurrency ?? Math.max(1, Math.floor(config.worker.memoryBudget / MAX_IN_FLIGHT_BYTES))
  );
}

/** `signal` ends the wait for servers that are not there yet. */
export async function startWorker(
  config: Config,
  queues: string[],
  log: Logger,
  signal: AbortSignal,
  telemetry?: WorkerTelemetry,
): Promise<RunningWorker> {
  const connection = await retrying('connect to Temporal', { log, signal }, () =>
    NativeConnection.connect(connectionOptions(config.temporal)),
  );
  const interceptors = { workflow: telemetry?.client ?? [] };
  const client = new Client({ connection, namespace: config.temporal.namespace, interceptors });
  const deps = createWorkerDeps(config, log, client, telemetry?.metrics);
  await retrying('check the catalog', { log, signal }, () => assertSchema(deps.db));
  if (queues.includes(QUEUES.orchestration)) {
    await ensureRelays(client, config, deps.relays.sinks, { log, signal });
  }
  const workers = await Promise.all(
    queues.map((queue) =>
      Worker.create({
        connection,
        namespace: config.temporal.namespace,
        taskQueue: queue,
        ...common(config),
        ...telemetry?.worker,
        ...(queue === QUEUES.orchestration
          ? orchestrationOptions(deps.orchestration, telemetry)
          : { activities: deps.transfer, maxConcurrentActivityTaskExecutions: transferSlots(config) }),
      }),
    ),
  );
  const sweeps = queues.includes(QUEUES.orchestration)
    ? scheduleSweeps(client, config, { log, signal })
    : undefined;
  const finished = Promise.all(workers.map((worker) => worker.run())).then(async () => {
    await sweeps?.settled;
    await deps.close();
    await connection.close();
  });
  return {
    queues,
    finished,
    ready: () => workers.every((worker) => worker.getState() === 'RUNNING'),
    shutdown: () => {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
      deps.relays.stop();
      sweeps?.stop();
    },
  };
}

/** What the end of the grace time is kept for: parts in flight end, transfers return what they have, connections close. */
const HANDOVER_MS = 2_500;

function common({ worker }: Config): Partial<WorkerOptions> {
  return {
    shutdownGraceTime: Math.max(0, worker.shutdownGraceMs - HANDOVER_MS),
    shutdownForceTime: worker.shutdownGraceMs + 5_000,
    // A worker that is stopped or cut off swallows one task for each poll that it has open.
    maxConcurrentActivityTaskPolls: 2,
    // Heartbeats carry the progress that people watch, and the news that they cancelled.
    maxHeartbeatThrottleInterval: '500 milliseconds',
    defaultHeartbeatThrottleInterval: '500 milliseconds',
  };
}

function orchestrationOptions(activities: object, telemetry?: WorkerTelemetry): Partial<WorkerOptions> {
  return {
    ...workflowCode(telemetry),
    activities,
    maxCachedWorkflows: 250,
    workflowThreadPoolSize: 1,
    // A killed worker's workflows wait for it this long before another takes them.
    stickyQueueScheduleToStartTimeout: '2 seconds',
  };
}

/** The bundle that the build made; from sources, Temporal bundles them at the start, which takes some seconds. */
function workflowCode(telemetry?: WorkerTelemetry): Partial<WorkerOptions> {
  const name = telemetry?.traced === true ? 'workflows-traced.js' : 'workflows.js';
  const built = [`./${name}`, `../../dist/${name}`]
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => path.endsWith(`dist/${name}`) && existsSync(path));
  if (built !== undefined) return { workflowBundle: { codePath: built } };
  const workflowsPath = fileURLToPath(new URL('../workflows/index.ts', import.meta.url));
  if (telemetry?.traced !== true) return { workflowsPath };
  return {
    workflowsPath,
    interceptors: { ...telemetry.worker.interceptors, workflowModules: [workflowTracer()] },
  };
}
