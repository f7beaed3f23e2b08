/** Longshore's own worker, as a process of its own: it can be killed and started again without the rest. */
import { join } from 'node:path';
import { probeHttp } from './probe.js';
import { LOOPBACK } from '../ports.js';
import { launch, untilReady } from './part.js';
import type { Part, StartOptions } from './part.js';

export interface WorkerPart extends Part {
  /** Answers 200 at `/ready` once the worker polls. */
  health: string;
}

export interface StartWorkerOptions extends StartOptions {
  /** The CLI's entry: a bundle, or a source file when this process runs sources. */
  cliEntry: string;
  healthPort: number;
  /** More arguments of `longshore worker`. */
  args?: readonly string[];
}

const READY_TIMEOUT_MS = 60_000;
const GRACE_MS = 15_000;

export async function startWorker(options: StartWorkerOptions): Promise<WorkerPart> {
  const part = launch({
    name: 'worker',
    command: process.execPath,
    args: [
      ...loaders(process.execArgv),
      options.cliEntry,
      'worker',
      '--data-dir',
      options.dataDir,
      ...(options.args ?? []),
    ],
    env: {
      ...options.env,
      LONGSHORE_HEALTH_HOST: LOOPBACK,
      LONGSHORE_HEALTH_PORT: String(options.healthPort),
    },
    logFile: join(options.dataDir, 'logs', 'worker.log'),
    guard: options.guard,
    stopSignal: 'SIGTERM',
    graceMs: GRACE_MS,
  });
  const health = `http://${LOOPBACK}:${options.healthPort}`;
  await untilReady(part, () => probeHttp(`${health}/ready`), {
    timeoutMs: READY_TIMEOUT_MS,
    signal: options.signal,
  });
  return Object.assign(part, { health });
}

/** What lets this process read TypeScript sources lets the worker too; a debugger's port cannot be shared. */
export function loaders(execArgv: readonly string[]): string[] {
  return execArgv.filter((argument) => !argument.startsWith('--inspect'));
}
