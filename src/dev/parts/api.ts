/** The REST API, as a process of its own: it can be killed and started again without the rest. */
import { join } from 'node:path';
import { LOOPBACK } from '../ports.js';
import { launch, untilReady } from './part.js';
import type { Part, StartOptions } from './part.js';
import { probeHttp } from './probe.js';
import { loaders } from './worker.js';

export interface StartApiOptions extends StartOptions {
  /** As the worker's. */
  cliEntry: string;
  port: number;
}

const READY_TIMEOUT_MS = 60_000;
const GRACE_MS = 15_000;

export async function startApi(options: StartApiOptions): Promise<Part> {
  const part = launch({
    name: 'api',
    command: process.execPath,
    args: [...loaders(process.execArgv), options.cliEntry, 'api', '--data-dir', options.dataDir],
    // The stack is one person's on one machine, whatever the API of another listens on.
    env: {
      ...options.env,
      LONGSHORE_API_HOST: LOOPBACK,
      LONGSHORE_API_PORT: String(options.port),
    },
    logFile: join(options.dataDir, 'logs', 'api.log'),
    guard: options.guard,
    stopSignal: 'SIGTERM',
    graceMs: GRACE_MS,
  });
  await untilReady(part, () => probeHttp(`http://${LOOPBACK}:${options.port}/health`), {
    timeoutMs: READY_TIMEOUT_MS,
    signal: options.signal,
  });
  return part;
}
