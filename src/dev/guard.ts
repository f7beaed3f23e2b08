/**
 * Ends the parts when their starter dies without doing it, killed hard for one. A small process in a session of its
 * own holds a pipe from the starter and is told which processes to end; the pipe closes with the starter.
 *
 * The program of that process is `guardMain` as text, handed to `node -e`: so it runs alike from sources, from a bundle
 * and under a test runner, and needs no file of its own that a package could lack.
 */
import { spawn } from 'node:child_process';
import type childProcess from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type fileSystem from 'node:fs';
import { LongshoreError } from '../core/errors.js';
import { processStart } from './identity.js';

export interface Guard {
  readonly pid: number;
  /** Settles once it watches; rejects when it cannot. Parts should not start before. */
  readonly ready: Promise<void>;
  /** From now on this process is ended, `signal` first, when the starter dies. */
  watch(process: GuardedProcess): void;
  /** It has ended, or is left alone from now on. */
  forget(pid: number): void;
  /** Stops guarding; the processes stay as they are. */
  close(): Promise<void>;
}

export interface GuardedProcess {
  name: string;
  pid: number;
  /** The polite one; SIGKILL follows after a grace time. */
  signal: NodeJS.Signals;
}

interface WatchMessage extends GuardedProcess {
  start: string | undefined;
}

/** `close` tells the guard to leave without ending anything. */
type GuardMessage = { watch: WatchMessage } | { forget: number } | { close: true };

const GRACE_MS = 5000;
/** By this argument it is told from other processes. */
export const GUARD_NAME = 'longshore-guard';

/** `told` hears what becomes of the guard itself, in words for a person. */
export function startGuard(told: (line: string) => void = () => undefined): Guard {
  return new PipedGuard(told);
}

class PipedGuard implements Guard {
  readonly #watched = new Map<number, WatchMessage>();
  readonly ready: Promise<void>;
  #child: ChildProcess;
  #closing = false;

  constructor(private readonly told: (line: string) => void) {
    this.#child = this.#launch();
    this.ready = this.#hello(this.#child);
    // Who does not wait for it is told all the same.
    this.ready.catch((error: unknown) => {
      if (!this.#closing) this.told(String(error));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  watch(guarded: GuardedProcess): void {
    const message = { ...guarded, start: processStart(guarded.pid) };
    this.#watched.set(guarded.pid, message);
    this.#send({ watch: message });
  }

  forget(pid: number): void {
    this.#watched.delete(pid);
    this.#send({ forget: pid });
  }

  async close(): Promise<void> {
    this.#closing = true;
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    // Waited for from here on: without this the process could end before the promise does.
    child.ref();
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.#send({ close: true });
    child.stdin?.end();
    await gone;
  }

  #send(message: GuardMessage): void {
    this.#child.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  #launch(): ChildProcess {
    // Tools that compile with names kept wrap functions in a helper of this name.
    const program = `const __name = (value) => value; (${guardMain.toString()})(require, ${GRACE_MS});`;
    const child = spawn(process.execPath, ['-e', program, GUARD_NAME], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
      cwd: '/',
      env: {},
    });
    // A guard that was killed is replaced, and told everything again: a write to the dead one is no loss.
    child.stdin.on('error', () => undefined);
    child.unref();
    for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as { unref(): void }).unref();
    return child;
  }

  /** Its first word; from then on it is replaced when someone ends it. One that cannot start is not tried again. */
  async #hello(child: ChildProcess): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: unknown): void =>
        reject(new LongshoreError('Internal', 'the guard process does not start', { op: 'spawn', cause }));
      child.once('exit', failed);
      child.once('error', failed);
      child.stdout?.once('data', () => resolve());
      // Waiting for it keeps this process alive; being watched later must not.
      child.ref();
    });
    child.unref();
    child.once('exit', () => void this.#replace());
  }

  async #replace(): Promise<void> {
    if (this.#closing) return;
    this.#child = this.#launch();
    for (const watch of this.#watched.values()) this.#send({ watch });
    try {
      await this.#hello(this.#child);
      this.told(`the guard was ended; another one watches now (pid ${this.pid})`);
    } catch (error) {
      this.told(`${String(error)}; if this process is killed hard, its parts live on`);
    }
  }
}

/** Runs as text in a process of its own: it must use nothing of this module but its parameters. */
function guardMain(load: NodeJS.Require, graceMs: number): void {
  const fs = load('node:fs') as typeof fileSystem;
  const { execFileSync } = load('node:child_process') as typeof childProcess;
  const watched = new Map<number, WatchMessage>();
  let text = '';

  // Methods, not named functions: nothing that a bundler wraps in a helper which this text would lack.
  const guard = {
    startOf(pid: number): string | undefined {
      try {
        if (process.platform !== 'linux') {
          return execFileSync('/bin/ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
        }
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return fields[0] === 'Z' ? undefined : fields[19];
      } catch {
        // It is gone.
        return undefined;
      }
    },
    lives(entry: WatchMessage): boolean {
      const start = guard.startOf(entry.pid);
      return start !== undefined && (entry.start === undefined || entry.start === start);
    },
    send(entry: WatchMessage, signal: NodeJS.Signals): void {
      if (!guard.lives(entry)) return;
      try {
        process.kill(entry.pid, signal);
      } catch {
        // It went in this moment, which is what was wanted.
      }
    },
    endAll(): void {
      const entries = [...watched.values()];
      for (const entry of entries) guard.send(entry, entry.signal);
      const began = Date.now();
      const timer = setInterval(() => {
        if (!entries.some((entry) => guard.lives(entry))) clearInterval(timer);
        else if (Date.now() - began > graceMs) {
          for (const entry of entries) guard.send(entry, 'SIGKILL');
        }
      }, 50);
    },
    obey(line: string): void {
      const message = JSON.parse(line) as { watch?: WatchMessage; forget?: number; close?: true };
      if (message.watch !== undefined) watched.set(message.watch.pid, message.watch);
      if (message.forget !== undefined) watched.delete(message.forget);
      if (message.close === true) watched.clear();
    },
  };

  // What ends the starter must not end its guard.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) guard.obey(line);
  });
  process.stdin.on('close', () => guard.endAll());
  // The starter may be gone before it reads this.
  process.stdout.on('error', () => undefined);
  process.stdout.write('ready');
}
