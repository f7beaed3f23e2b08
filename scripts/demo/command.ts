/** A command with `--json` as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Guard } from '../../src/dev/guard.js';

export interface CommandOptions {
  cli: string;
  dataDir: string;
  env: NodeJS.ProcessEnv;
  guard: Guard;
}

export interface Running<Result> {
  /** Its last line. Rejects when it failed, with what it said. */
  readonly result: Promise<Result>;
  /** What `step` answers; rejects when the command fails first. */
  raceEnd<T>(step: Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

/** `longshore <args> --json`. */
export function startCommand<Result>(
  args: readonly [string, ...string[]],
  { cli, dataDir, env, guard }: CommandOptions,
): Running<Result> {
  const all = [cli, ...args, '--json', '--data-dir', dataDir];
  // A session of its own: Ctrl-C is the demo's, which then stops everything in order.
  const child = spawn(process.execPath, all, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const [name] = args;
  if (child.pid !== undefined) guard.watch({ name, pid: child.pid, signal: 'SIGTERM' });
  return new CommandProcess<Result>(name, child, guard);
}

class CommandProcess<Result> implements Running<Result> {
  readonly result: Promise<Result>;
  private readonly exited: Promise<number | null>;
  private isEnded = false;

  constructor(
    name: string,
    private readonly child: ChildProcess,
    private readonly guard: Guard,
  ) {
    let last = '';
    let errors = '';
    if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => (last = line));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text));
    this.exited = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        this.isEnded = true;
        if (child.pid !== undefined) this.guard.forget(child.pid);
        resolve(code);
      });
    });
    this.result = this.exited.then((code) => {
      if (code === 0) return JSON.parse(last) as Result;
      throw new Error(`${name} ended with ${code ?? 'a signal'}: ${last}\n${errors}`.trim());
    });
    // It is awaited at the end; a failure before that is noticed by `raceEnd`.
    this.result.catch(() => undefined);
  }

  async raceEnd<T>(step: Promise<T>): Promise<T> {
    const failed = new Promise<never>((_, reject) => void this.result.catch(reject));
    return await Promise.race([step, failed]);
  }

  async stop(): Promise<void> {
    if (this.isEnded) return;
    this.child.kill('SIGTERM');
    await this.exited;
  }
}
