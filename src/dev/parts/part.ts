/** What every part of the stack is: one process, started until it answers, stopped until it is gone. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LongshoreError } from '../../core/errors.js';
import type { Guard } from '../guard.js';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** True when `stop` was called before. */
  asked: boolean;
  /** The end of its log. */
  tail: string;
}

export interface Part {
  readonly name: string;
  readonly pid: number;
  /** Where its output goes. */
  readonly logFile: string;
  /** Settles once, whatever ended it. */
  readonly exited: Promise<Exit>;
  /** Polite first, SIGKILL after the grace time; returns when it is gone. May be called again. */
  stop(): Promise<void>;
  /** At once, by SIGKILL. */
  kill(): void;
}

export interface LaunchOptions {
  name: string;
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  cwd?: string;
  logFile: string;
  guard: Guard | undefined;
  stopSignal: NodeJS.Signals;
  /** Milliseconds between the polite signal and SIGKILL. */
  graceMs: number;
  uid?: number;
  gid?: number;
}

const MAX_LOG_BYTES = 10 * 1024 * 1024;
const TAIL_BYTES = 4096;
const POLL_MS = 25;

export function launch(options: LaunchOptions): Part {
  const log = openLog(options.logFile);
  const from = statSync(options.logFile).size;
  let child: ChildProcess;
  try {
    child = spawn(options.command, options.args, {
      env: options.env,
      // A file, not a pipe: a part must not die of a pipe that its starter left.
      stdio: ['ignore', log, log],
      // A session of its own: Ctrl-C reaches the starter alone, which stops the parts in order.
      detached: true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
  } finally {
    closeSync(log);
  }
  return new LaunchedPart(options, child, from);
}

class LaunchedPart implements Part {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  #asked = false;

  constructor(
    private readonly options: LaunchOptions,
    private readonly child: ChildProcess,
    logFrom: number,
  ) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.pid = child.pid ?? 0;
    if (child.pid !== undefined)
      options.guard?.watch({ name: this.name, pid: child.pid, signal: options.stopSignal });
    this.exited = new Promise((resolve) => {
      const settle = (code: number | null, signal: NodeJS.Signals | null, reason?: string): void => {
        if (child.pid !== undefined) options.guard?.forget(child.pid);
        resolve({ code, signal, asked: this.#asked, tail: reason ?? readTail(options.logFile, logFrom) });
      };
      child.once('exit', (code, signal) => settle(code, signal));
      child.once('error', (error) => settle(null, null, error.message));
    });
  }

  async stop(): Promise<void> {
    if (!this.#asked) {
      this.#asked = true;
      this.child.kill(this.options.stopSignal);
    }
    const grace = new AbortController();
    const kill = delay(this.options.graceMs, undefined, { signal: grace.signal, ref: true }).then(
      () => this.child.kill('SIGKILL'),
      () => undefined,
    );
    await this.exited;
    grace.abort();
    await kill;
  }

  kill(): void {
    this.#asked = true;
    this.child.kill('SIGKILL');
  }
}

export interface ReadyOptions {
  /** Milliseconds. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/** Waits until `probe` stops throwing. A part that ends first, or never answers, is stopped and reported with its log. */
export async function untilReady(
  part: Part,
  probe: () => Promise<void>,
  options: ReadyOptions,
): Promise<void> {
  const began = performance.now();
  let ended: Exit | undefined;
  let last: unknown;
  void part.exited.then((exit) => {
    ended = exit;
  });
  while (ended === undefined) {
    if (options.signal?.aborted === true || performance.now() - began > options.timeoutMs) {
      await part.stop();
      options.signal?.throwIfAborted();
      const { tail } = await part.exited;
      throw partFailed(part, `did not answer within ${options.timeoutMs / 1000} s`, tail, last);
    }
    try {
      await probe();
      return;
    } catch (error) {
      last = error;
    }
    await delay(POLL_MS);
  }
  throw partFailed(part, `ended at its start (${exitText(ended)})`, ended.tail, undefined);
}

export function exitText(exit: Exit): string {
  return exit.signal === null ? `exit code ${exit.code ?? 'none'}` : `signal ${exit.signal}`;
}

function partFailed(part: Part, what: string, tail: string, cause: unknown): LongshoreError {
  return new LongshoreError('Internal', `${part.name} ${what}\n${indent(tail)}`, {
    op: 'start',
    key: part.name,
    cause,
    hint: `Its log is ${part.logFile}.`,
  });
}

export function indent(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `  | ${line}`)
    .join('\n');
}

/** One earlier log is kept; a log never grows past its bound by more than one run. */
function openLog(file: string): number {
  mkdirSync(dirname(file), { recursive: true });
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_LOG_BYTES) renameSync(file, `${file}.1`);
  return openSync(file, 'a', 0o600);
}

/** The end of what this run wrote. */
function readTail(file: string, from: number): string {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const begin = Math.max(Math.min(from, size), size - TAIL_BYTES);
  const buffer = Buffer.alloc(size - begin);
  if (buffer.length === 0) return '(its log is empty)';
  const descriptor = openSync(file, 'r');
  try {
    return buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, buffer.length, begin));
  } finally {
    closeSync(descriptor);
  }
}

export interface StartOptions {
  /** Of the whole stack; each part has a folder of its own in it. */
  dataDir: string;
  env: NodeJS.ProcessEnv;
  /** Progress lines (provisioning, recovery). */
  log: (line: string) => void;
  guard: Guard | undefined;
  signal?: AbortSignal | undefined;
}

const KEPT = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'GOGC', 'GOMAXPROCS', 'GOMEMLIMIT'];

/** Servers read settings from variables that people set for their clients (`TEMPORAL_*`, `VGW_*`, `LOGFILE`): left out. */
export function serverEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(KEPT.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
