/** What `longshore worker` does: run until told to stop. */
import { setFlagsFromString } from 'node:v8';
import { DefaultLogger, Runtime, type TelemetryOptions } from '@temporalio/worker';
import type { Config } from '../infra/config.js';
import { createLogger, type Logger } from '../infra/telemetry/log.js';
import { startHealth, type HealthServer, type HealthSources } from './health.js';
import { openTelemetry } from './telemetry.js';
import { defaultQueues, startWorker, transferSlots, type RunningWorker } from './worker.js';

export interface WorkerArguments {
  queues?: string[] | undefined;
}

/**
 * How much garbage may gather beside what lives before the old generation is swept, percent. Measured with a million small
 * files: on a large machine V8 lets 50 MiB that live become 200 before it looks, and the process 410 MiB instead of 300.
 */
const HEAP_GROWTH = 75;

/** The exit code: 0 after a shutdown that was asked for, 1 when a worker broke down. */
export async function runWorker(config: Config, args: WorkerArguments): Promise<number> {
  const log = createLogger({ level: config.logLevel, name: 'worker' });
  const telemetry = await openTelemetry(config, log);
  installRuntime(log, telemetry.runtime);
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`);
  let worker: RunningWorker | undefined;
  const ready = (): boolean => worker?.ready() ?? false;
  const health = await openHealth(config, { ready, metrics: telemetry.text });
  const stop = onStopSignals(log);
  try {
    const queues = args.queues ?? defaultQueues(config);
    worker = await startWorker(config, queues, log, stop.signal, telemetry);
    if (stop.signal.aborted) worker.shutdown();
    else stop.signal.addEventListener('abort', worker.shutdown);
    log.info(
      { queues: worker.queues, slots: transferSlots(config), health: health?.port },
      'the worker is ready',
    );
    await worker.finished;
    log.info('the worker has stopped');
    return 0;
  } catch (error) {
    if (stop.signal.aborted && worker === undefined) {
      log.info('stopped before its servers were there');
      return 0;
    }
    log.error({ err: error }, 'the worker broke down');
    return 1;
  } finally {
    stop.forget();
    await health?.close();
    await telemetry.close().catch((error: unknown) => log.warn({ err: error }, 'the last telemetry is lost'));
  }
}

function installRuntime(log: Logger, telemetryOptions: TelemetryOptions): void {
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    // True of every transfer queue, and as it should be.
    if (message.startsWith('No workflows registered')) return;
    const write = level === 'ERROR' ? log.error : level === 'WARN' ? log.warn : log.info;
    write.call(log, meta ?? {}, message);
  });
  Runtime.install({ logger, telemetryOptions, shutdownSignals: [] });
}

async function openHealth({ worker }: Config, sources: HealthSources): Promise<HealthServer | undefined> {
  if (worker.healthPort === undefined) return undefined;
  return await startHealth(worker.healthHost, worker.healthPort, sources);
}

/** The first signal asks for a graceful end, the second ends at once. */
function onStopSignals(log: Logger): { signal: AbortSignal; forget: () => void } {
  const asked = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (asked.signal.aborted) {
      log.warn({ signal }, 'ending at once');
      process.exit(1);
    }
    log.info({ signal }, 'stopping; another signal ends at once');
    asked.abort();
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const forget = (): void => {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  };
  return { signal: asked.signal, forget };
}
