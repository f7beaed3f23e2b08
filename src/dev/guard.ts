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

/** `replaced` is told the pid of a new guard, when the one before was ended by someone. */
export function startGuard(replaced: (pid: number) => void = () => undefined): Guard {
  return new PipedGuard(replaced);
}

class PipedGuard implements Guard {
  readonly #watched = new Map<number, WatchMessage>();
  #child: ChildProcess;
  #closing = false;

  constructor(private readonly replaced: (pid: number) => void) {
    this.#child = this.#launch();
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
    const program = `const __name = (value) => value; (${guardMain.toString()})(require, ${GRACE_MS});`;
    const child = spawn(process.execPath, ['-e', program, GUARD_NAME], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
      env: {},
    });
    // A guard that was killed is replaced; a write to the dead one in between is repeated by the replay.
    child.stdin.on('error', () => undefined);
    child.once('exit', () => this.#relaunch());
    child.once('error', (error) => {
      throw new LongshoreError('Internal', 'the guard process cannot be started', {
        op: 'spawn',
        cause: error,
      });
    });
    child.unref();
    (child.stdin as unknown as { unref(): void }).unref();
    return child;
  }

  #relaunch(): void {
    if (this.#closing) return;
    this.#child = this.#launch();
    for (const watch of this.#watched.values()) this.#send({ watch });
    this.replaced(this.pid);
  }
}

/** Runs as text in a process of its own: it must use nothing of this module but its parameters. */
function guardMain(load: NodeJS.Require, graceMs: number): void {
  const fs = load('node:fs') as typeof fileSystem;
  const { execFileSync } = load('node:child_process') as typeof childProcess;
  const watched = new Map<number, { pid: number; signal: NodeJS.Signals; start?: string }>();
  let text = '';

  const startOf = (pid: number): string | undefined => {
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
  };
  const lives = (entry: { pid: number; start?: string }): boolean => {
    const start = startOf(entry.pid);
    return start !== undefined && (entry.start === undefined || entry.start === start);
  };
  const send = (entry: { pid: number; start?: string }, signal: NodeJS.Signals): void => {
    if (!lives(entry)) return;
    try {
      process.kill(entry.pid, signal);
    } catch {
      // It went in this moment, which is what was wanted.
    }
  };
  const endAll = (): void => {
    const entries = [...watched.values()];
    for (const entry of entries) send(entry, entry.signal);
    const began = Date.now();
    const timer = setInterval(() => {
      if (!entries.some(lives)) {
        clearInterval(timer);
      } else if (Date.now() - began > graceMs) {
        for (const entry of entries) send(entry, 'SIGKILL');
      }
    }, 50);
  };
  const obey = (line: string): void => {
    const message = JSON.parse(line) as {
      watch?: { pid: number; signal: NodeJS.Signals; start?: string };
      forget?: number;
      close?: true;
    };
    if (message.watch !== undefined) watched.set(message.watch.pid, message.watch);
    if (message.forget !== undefined) watched.delete(message.forget);
    if (message.close === true) watched.clear();
  };

  // What ends the starter must not end its guard.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    lines.forEach(obey);
  });
  process.stdin.on('close', endAll);
}
