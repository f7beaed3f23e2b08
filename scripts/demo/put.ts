/** `longshore put --json` as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Guard } from '../../src/dev/guard.js';

/** What the demo uses of the last line of `put --json`. */
export interface PutResult {
  type: 'result';
  state: string;
  bucket: string;
  key: string;
  size: number;
  checksum: string | null;
  verification: string;
  bytesSent: number;
  parts: number;
  generations: number;
  seconds: number;
  webUi: string | null;
}

export interface PutOptions {
  cli: string;
  file: string;
  to: string;
  id: string;
  dataDir: string;
  env: NodeJS.ProcessEnv;
  guard: Guard;
}

export interface Put {
  /** Rejects when `put` failed, with what it said. */
  readonly result: Promise<PutResult>;
  /** What `step` answers; rejects when `put` fails first. */
  raceEnd<T>(step: Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export function startPut(options: PutOptions): Put {
  const { cli, file, to, id, dataDir, env, guard } = options;
  const args = [cli, 'put', '--json', '--id', id, '--data-dir', dataDir, file, to];
  // A session of its own: Ctrl-C is the demo's, which then stops everything in order.
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  if (child.pid !== undefined) guard.watch({ name: 'put', pid: child.pid, signal: 'SIGTERM' });
  return new PutProcess(child, guard);
}

class PutProcess implements Put {
  readonly result: Promise<PutResult>;
  private readonly exited: Promise<number | null>;
  private isEnded = false;

  constructor(
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
      if (code === 0) return JSON.parse(last) as PutResult;
      throw new Error(`put ended with ${code ?? 'a signal'}: ${last}\n${errors}`.trim());
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
