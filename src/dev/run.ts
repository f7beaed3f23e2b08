/** Short-lived commands: run to the end, output captured, ended with all they started when the signal fires. */
import { spawn } from 'node:child_process';
import { setInterval } from 'node:timers';
import { sendSignal } from './identity.js';

export interface RunOptions {
  env: NodeJS.ProcessEnv;
  cwd?: string;
  signal?: AbortSignal | undefined;
  /** Milliseconds. */
  timeoutMs?: number;
  uid?: number;
  gid?: number;
}

const TAIL = 2000;

/** What it wrote. Throws an Error with the end of its output when it fails, or the signal's reason. */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { timeoutMs, signal, ...rest } = options;
  const limits = [signal, timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)];
  const stop = AbortSignal.any(limits.filter((limit) => limit !== undefined));
  stop.throwIfAborted();
  return await new Promise((resolve, reject) => {
    // A group of its own, so that what a build starts ends with it.
    const child = spawn(command, args, { ...rest, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString('utf8');
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const end = (): void => {
      if (child.pid !== undefined) sendSignal(-child.pid, 'SIGKILL');
    };
    stop.addEventListener('abort', end, { once: true });
    child.once('error', (error) => {
      stop.removeEventListener('abort', end);
      reject(error);
    });
    child.once('close', (code, killedBy) => {
      stop.removeEventListener('abort', end);
      if (stop.aborted) reject(stop.reason as Error);
      else if (code === 0) resolve(output);
      else
        reject(
          new Error(
            `${command} ended with ${code ?? killedBy}: ${output.slice(-TAIL).trim() || '(no output)'}`,
          ),
        );
    });
  });
}

/** Says what is done, then every two seconds for how long already. */
export async function withProgress<T>(
  log: (line: string) => void,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const elapsed = (): number => Math.round((performance.now() - started) / 1000);
  log(`${what} …`);
  const timer = setInterval(() => log(`${what} … ${elapsed()} s`), 2000);
  try {
    const result = await work();
    log(`${what}: done after ${elapsed()} s`);
    return result;
  } finally {
    clearInterval(timer);
  }
}
