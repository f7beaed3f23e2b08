/** The API as benches run it: a process of its own, beside the scene's stack. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pickPort } from '../../src/dev/ports.js';
import type { Scene } from '../job-scene.js';

export interface Api {
  url: string;
  child: ChildProcess;
}

/** Answers once it does. `flags`: for Node. */
export async function startApi({ cli, dataDir, env }: Scene, flags: readonly string[] = []): Promise<Api> {
  const port = await pickPort();
  const args = [...flags, cli, 'api', '--json', '--data-dir', dataDir, '--port', String(port)];
  const child = spawn(process.execPath, args, {
    // Asked often, from one address.
    env: { ...env, LONGSHORE_API_RATE: '0', LONGSHORE_LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit').then(([code]) =>
    Promise.reject(new Error(`the API ended with ${String(code)}`)),
  );
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
  // Whoever stops it later means it.
  ended.catch(() => undefined);
  return { url: (JSON.parse(line) as { url: string }).url, child };
}

export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(timer);
}
