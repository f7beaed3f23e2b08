/** Forks the null sink, so that taking in gigabytes does not slow the test that watches. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SunkObject } from './null-sink.js';
import { registerProcess } from './registry.js';

export interface NullSinkProcess {
  endpoint: string;
  pid: number;
  /** Objects by `bucket/key`, and the number of unfinished uploads. */
  state(): Promise<{ objects: Map<string, SunkObject>; uploads: number }>;
  close(): Promise<void>;
}

export async function forkNullSink(): Promise<NullSinkProcess> {
  const child = fork(fileURLToPath(new URL('./null-sink-main.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const pid = child.pid ?? 0;
  registerProcess(pid, 'null sink');
  const exited = once(child, 'exit');
  const [hello] = (await Promise.race([
    once(child, 'message'),
    exited.then(([code]) => Promise.reject(new Error(`the null sink ended with ${String(code)}`))),
  ])) as [{ endpoint: string }];
  return {
    endpoint: hello.endpoint,
    pid,
    state: async () => {
      const answer = once(child, 'message');
      child.send('state');
      const [state] = (await answer) as [{ objects: [string, SunkObject][]; uploads: number }];
      return { objects: new Map(state.objects), uploads: state.uploads };
    },
    close: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
