/** Temporal's dev server with its Web UI, on a SQLite file that survives a kill. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../../core/states.js';
import { LOOPBACK } from '../ports.js';
import { provision } from '../provision.js';
import { probeHttp } from './probe.js';
import { launch, serverEnvironment, untilReady } from './part.js';
import type { Part, StartOptions } from './part.js';

export interface TemporalPart extends Part {
  /** host:port of the gRPC front end. */
  address: string;
  /** Base of the Web UI, without a slash at its end. */
  ui: string;
}

export interface StartTemporalOptions extends StartOptions {
  port: number;
  uiPort: number;
  /** false: everything is lost with the process. */
  persistent?: boolean;
  /** More `KEY=VALUE` pairs of dynamic configuration. */
  dynamicConfig?: readonly string[];
}

/** Measured: without these the server waits for a 50 ms tick before each task (100 ms an activity instead of 12). */
const TUNING = [
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
  'history.visibilityProcessorMaxPollRPS=500',
  // Off by default, and jobs are to share the workers fairly.
  'matching.enableFairness=true',
];
/** Measured: as fast as memory, where the defaults are two to three times slower. */
const PRAGMAS = ['journal_mode=wal', 'synchronous=normal'];
/** Go's collector waits for five times what lives: a tenth less CPU, for some memory that a laptop has. */
const GOGC = '400';
const READY_TIMEOUT_MS = 60_000;
const GRACE_MS = 10_000;

export async function startTemporal(options: StartTemporalOptions): Promise<TemporalPart> {
  const { env, log, signal } = options;
  const command = await provision('temporal', { env, log, ...(signal === undefined ? {} : { signal }) });
  const part = launch({
    name: 'temporal',
    command,
    args: await serverArguments(options),
    env: { GOGC, ...serverEnvironment(env) },
    logFile: join(options.dataDir, 'logs', 'temporal.log'),
    guard: options.guard,
    stopSignal: 'SIGTERM',
    graceMs: GRACE_MS,
  });
  const address = `${LOOPBACK}:${options.port}`;
  const ui = `http://${LOOPBACK}:${options.uiPort}`;
  const bothAnswer = async (): Promise<void> => {
    await answers(address);
    await probeHttp(ui);
  };
  await untilReady(part, bothAnswer, { timeoutMs: READY_TIMEOUT_MS, signal });
  return Object.assign(part, { address, ui });
}

async function serverArguments(options: StartTemporalOptions): Promise<string[]> {
  const args = ['server', 'start-dev', '--ip', LOOPBACK, '--ui-ip', LOOPBACK, '--log-level', 'error'];
  args.push('--port', String(options.port), '--ui-port', String(options.uiPort));
  for (const value of [...TUNING, ...(options.dynamicConfig ?? [])])
    args.push('--dynamic-config-value', value);
  for (const name of Object.values(SEARCH_ATTRIBUTES)) args.push('--search-attribute', `${name}=Keyword`);
  if (options.persistent !== false) {
    const folder = join(options.dataDir, 'temporal');
    await mkdir(folder, { recursive: true });
    args.push('--db-filename', join(folder, 'temporal.db'));
    for (const pragma of PRAGMAS) args.push('--sqlite-pragma', pragma);
  }
  return args;
}

/** The port opens before the namespace can be used. */
async function answers(address: string): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 2000 });
  try {
    await connection.workflowService.describeNamespace({ namespace: 'default' });
  } finally {
    await connection.close();
  }
}
