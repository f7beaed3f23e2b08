/** A job through a time in which S3 asks for less, and how many requests at once its worker lets itself have. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Queryable } from '../../src/infra/catalog/pool.js';
import { pickPorts } from '../../src/dev/ports.js';
import { faults } from './fault-proxy.js';
import { expectExact, jobFolder, jobOf } from './job-folder.js';
import { startWorker } from './processes.js';
import { untilSent } from './puts.js';
import type { Rig } from './rig.js';

/** The worker's figure `longshore_s3_concurrency_limit`. */
export interface SlowDown {
  before: number;
  /** The mean of the second half of the time. */
  during: number;
  /** The highest after it. */
  after: number;
  /** Requests that were answered with 503. */
  refused: number;
}

/** Requests take as long as they do over a network; without it what is lost is won back within a blink. */
const PUT_MS = 50;
const SAMPLE_MS = 100;

/** `files` must be so many that they last for longer than the time. */
export async function slowDown(
  rig: Rig,
  db: Queryable,
  { seconds, files: count }: { seconds: number; files: number },
): Promise<SlowDown> {
  const [port = 0] = await pickPorts([[]]);
  const [files, bucket] = await Promise.all([
    jobFolder(rig, { files: count }),
    rig.bucket(),
    startWorker(rig.surroundings, ['--health-port', String(port)]),
  ]);
  rig.proxy.fault({ op: 'PutObject' }, faults.delay(PUT_MS));
  const before = await limitOf(port);
  const { id } = await rig.client.jobs.startJob({ definition: jobOf(rig, files, bucket), db });
  await untilSent(rig.proxy, bucket.name, { small: 50 });
  const refusing = rig.proxy.fault(
    { op: 'PutObject', bucket: bucket.name, probability: 0.3 },
    faults.status(503, 'SlowDown'),
  );
  const during = await sampled(port, delay(seconds * 1000));
  refusing.remove();
  const running = rig.client.jobs.result(id);
  const after = await sampled(port, running);
  expect(await running).toMatchObject({ state: 'COMPLETED', failedFiles: 0, sentFiles: count });
  await expectExact(db, id, files, bucket);
  const latter = during.slice(during.length / 2);
  return { before, during: mean(latter), after: Math.max(...after), refused: refusing.hits };
}

/** The figure, again and again until the other is done. */
async function sampled(port: number, until: Promise<unknown>): Promise<number[]> {
  const samples: number[] = [];
  let over = false;
  const ended = until.finally(() => (over = true));
  while (!over) {
    samples.push(await limitOf(port));
    await delay(SAMPLE_MS);
  }
  await ended;
  return samples;
}

async function limitOf(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const [, figure] = /^longshore_s3_concurrency_limit(?:\{.*\})? (\S+)/m.exec(text) ?? [];
  if (figure === undefined) throw new Error('the worker does not tell its limit');
  return Number(figure);
}

function mean(samples: readonly number[]): number {
  return samples.reduce((sum, one) => sum + one, 0) / samples.length;
}
