/** Forks the counting sink, so that what it takes in does not slow whoever watches. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SinkCounts } from './counting-sink.js';

export interface CountingSinkProcess {
  endpoint: string;
  pid: number;
  counts(): Promise<SinkCounts>;
  close(): Promise<void>;
}

/** @param keys how many different keys there may be */
export async function forkCountingSink(keys: number): Promise<CountingSinkProcess> {
  const child = fork(fileURLToPath(new URL('./counting-sink-main.ts', import.meta.url)), [String(keys)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  const next = async (): Promise<unknown> => {
    const ended = exited.then(([code]) => Promise.reject(new Error(`the sink ended with ${String(code)}`)));
    const [message] = (await Promise.race([once(child, 'message'), ended])) as [unknown];
    return message;
  };
  const { endpoint } = (await next()) as { endpoint: string };
  let turn: Promise<unknown> = Promise.resolve();
  const ask = async (): Promise<SinkCounts> => {
    const answer = next();
    child.send('counts');
    return (await answer) as SinkCounts;
  };
  return {
    endpoint,
    pid: child.pid ?? 0,
    // One question at a time: answers carry nothing that tells them apart.
    counts: () => {
      const answer = turn.then(ask);
      turn = answer.catch(() => undefined);
      return answer;
    },
    close: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
