/**
 * `longshore dev`: the stack until Ctrl-C. A part that ends by itself is reported with the end of its log and started
 * again on its port and data; the worker and the API always, with growing pauses, a server once a minute at most: one that ends
 * again sooner has a reason that a restart does not cure, and the stack stops with exit code 1.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT, LongshoreError } from '../core/errors.js';
import { exitText, indent } from './parts/part.js';
import type { Exit, Part } from './parts/part.js';
import { PROGRAMS, startStack, UPLOADS_BUCKET } from './stack.js';
import type { PartName, Stack, StackOptions } from './stack.js';

export interface DevOptions extends Omit<StackOptions, 'log' | 'signal'> {
  /** One JSON line (DevReady) instead of text once the stack is up. */
  json: boolean;
  /** Results; one call is one line. */
  out: (line: string) => void;
  /** Progress and errors. */
  err: (line: string) => void;
}

/** What `longshore dev --json` prints once everything answers. A stable shape; no secrets: those are in dev.json. */
export interface DevReady {
  event: 'ready';
  dataDir: string;
  temporal: { address: string; ui: string };
  s3: { endpoint: string; region: string; bucket: string };
  postgres: { host: string; port: number; database: string };
  /** null with --no-api. */
  api: { url: string } | null;
  pids: Record<string, number>;
  seconds: number;
}

const STEADY_MS = 60_000;
const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Returns the exit code once all parts are gone. Throws what `startStack` throws. */
export async function runDev(options: DevOptions): Promise<number> {
  const began = performance.now();
  const watch = watchSignals();
  try {
    const stack = await startOrLeave(
      { ...options, log: (line) => options.err(line), signal: watch.first },
      watch.first,
    );
    if (stack === undefined) return EXIT.ok;
    announce(stack, options, (performance.now() - began) / 1000);
    const lost = new Supervisor(stack, options).run();
    const code = await Promise.race([lost, asked(watch.first)]);
    watch.second.addEventListener('abort', () => stack.kill(), { once: true });
    if (code === EXIT.ok) options.err('stopping (again to stop at once) …');
    await stack.stop();
    return code;
  } finally {
    watch.release();
  }
}

/** undefined when a signal came before the stack was up. */
async function startOrLeave(options: StackOptions, signal: AbortSignal): Promise<Stack | undefined> {
  try {
    return await startStack(options);
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

interface SignalWatch {
  first: AbortSignal;
  second: AbortSignal;
  release(): void;
}

function watchSignals(): SignalWatch {
  const [first, second] = [new AbortController(), new AbortController()];
  const onSignal = (): void => {
    if (first.signal.aborted) second.abort();
    else first.abort(new LongshoreError('Cancelled', 'stopped by a signal', { op: 'dev' }));
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return {
    first: first.signal,
    second: second.signal,
    release: () => SIGNALS.forEach((name) => process.off(name, onSignal)),
  };
}

function asked(signal: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(EXIT.ok);
    else signal.addEventListener('abort', () => resolve(EXIT.ok), { once: true });
  });
}

function announce(stack: Stack, options: DevOptions, seconds: number): void {
  const { temporal, s3, postgres, api, pids } = stack.state;
  const url = new URL(postgres.url);
  const database = { host: url.hostname, port: Number(url.port || 5432), database: url.pathname.slice(1) };
  if (options.json) {
    const ready: DevReady = {
      event: 'ready',
      dataDir: stack.dataDir,
      temporal,
      s3: { endpoint: s3.endpoint, region: s3.region, bucket: UPLOADS_BUCKET },
      postgres: database,
      api: api ?? null,
      pids,
      seconds: Number(seconds.toFixed(2)),
    };
    options.out(JSON.stringify(ready));
    return;
  }
  options.out(`Longshore is up after ${seconds.toFixed(1)} s, data in ${stack.dataDir}`);
  options.out(`  Web UI    ${temporal.ui}`);
  options.out(`  Temporal  ${temporal.address}`);
  options.out(`  S3        ${s3.endpoint}  (bucket ${UPLOADS_BUCKET})`);
  options.out(`  Postgres  ${database.host}:${database.port}/${database.database}`);
  options.out(
    `  API       ${api === undefined ? 'not started (--no-api)' : `${api.url}  (described at /docs)`}`,
  );
  options.out(`  Worker    ${options.worker ? `pid ${pids['worker']}` : 'not started (--no-worker)'}`);
  options.out('Ctrl-C stops everything.');
}

class Supervisor {
  #giveUp: (code: number) => void = () => undefined;

  constructor(
    private readonly stack: Stack,
    private readonly options: DevOptions,
  ) {}

  /** Settles with an exit code when the stack cannot go on. */
  run(): Promise<number> {
    return new Promise((resolve) => {
      this.#giveUp = resolve;
      for (const [name, part] of this.stack.parts) this.#follow(name, part, 0);
    });
  }

  /** `failures`: how often in a row it ended soon after its start. */
  #follow(name: PartName, part: Part, failures: number): void {
    const since = performance.now();
    void part.exited.then(async (exit) => {
      if (exit.asked || this.stack.state.status === 'stopped') return;
      const steady = performance.now() - since > STEADY_MS;
      this.#report(name, part, exit);
      await this.#again(name, steady ? 0 : failures);
    });
  }

  async #again(name: PartName, failures: number): Promise<void> {
    if (!PROGRAMS.includes(name) && failures > 0) {
      this.options.err(`${name} ended again within a minute: the stack stops`);
      this.#giveUp(EXIT.failed);
      return;
    }
    if (failures > 0) await delay(Math.min(MIN_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS));
    try {
      const part = await this.stack.start(name);
      this.options.err(`${name} is up again (pid ${part.pid})`);
      this.#follow(name, part, failures + 1);
    } catch (error) {
      if (this.stack.state.status === 'stopped') return;
      this.options.err(
        `${name} did not start again: ${error instanceof Error ? error.message : String(error)}`,
      );
      await this.#again(name, failures + 1);
    }
  }

  #report(name: PartName, part: Part, exit: Exit): void {
    this.options.err(
      `${name} (pid ${part.pid}) ended by itself: ${exitText(exit)}; its log is ${part.logFile}`,
    );
    this.options.err(indent(exit.tail));
  }
}
