/** `longshore worker`: runs the workers of this machine until they are told to stop. */
import { runWorker } from '../../../workers/main.js';
import type { Io } from '../io.js';
import { badUsage, type Connections } from '../options.js';
import { configure } from '../session.js';

export interface WorkerOptions extends Connections {
  queues?: string;
  roots?: string;
  concurrency?: string;
  memoryBudget?: string;
  shutdownGrace?: string;
  healthPort?: string;
  healthHost?: string;
  logLevel?: string;
}

const QUEUE = /^(orchestration|transfer(@[A-Za-z0-9][A-Za-z0-9._-]*)?)$/;

export async function run(io: Io, options: WorkerOptions): Promise<number> {
  const { roots, concurrency, memoryBudget, shutdownGrace, healthPort, healthHost, logLevel } = options;
  const queues = queueNames(options.queues);
  const config = configure(io, options, {
    ...{ roots, memoryBudget, shutdownGrace, healthPort, healthHost, logLevel },
    workerConcurrency: concurrency,
  });
  return await runWorker(config, { queues });
}

function queueNames(text: string | undefined): string[] | undefined {
  if (text === undefined) return undefined;
  const names = [...new Set(text.split(',').map((name) => name.trim()))].filter((name) => name !== '');
  const wrong = names.find((name) => !QUEUE.test(name));
  if (names.length === 0 || wrong !== undefined) {
    throw badUsage(
      `--queues takes orchestration, transfer and transfer@ROOT, not ${JSON.stringify(wrong ?? text)}`,
    );
  }
  return names;
}
