/** As many parts as S3 permits: history and memory stay in bounds. */
import { randomUUID } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MAX_PARTS, MiB, MIN_PART_SIZE } from '../../src/core/limits.js';
import { forkNullSink, type NullSinkProcess } from '../helpers/null-sink-process.js';
import { startWorker } from '../helpers/processes.js';
import { startRig, type Rig } from '../helpers/rig.js';

const SIZE = MAX_PARTS * MIN_PART_SIZE;
let rig: Rig;
let sink: NullSinkProcess;

beforeAll(async () => {
  [rig, sink] = await Promise.all([startRig({ worker: false }), forkNullSink()]);
});
afterAll(async () => {
  await rig.close();
  await sink.close();
});

it('10,000 parts: under 1,500 events of history, and under 300 MiB of memory in the worker', async () => {
  const name = randomUUID();
  await writeFile(join(rig.folder, name), '');
  await truncate(join(rig.folder, name), SIZE);
  const { s3 } = rig.surroundings;
  if (s3 === undefined) throw new Error('the rig has no S3 server');
  const worker = await startWorker({ ...rig.surroundings, s3: { ...s3, endpoint: sink.endpoint } });
  const { id } = await rig.client.startUpload({
    source: { kind: 'file', root: 'files', path: name },
    destination: { bucket: 'null', key: name },
    options: { partSize: MIN_PART_SIZE },
  });
  const result = await rig.client.result(id);
  expect(result).toMatchObject({ size: SIZE, parts: MAX_PARTS, bytesSent: SIZE, verification: 'full' });
  const { historyEvents, startedAt, closedAt } = await rig.client.view(id);
  const peak = await peakMemory(worker.pid);
  const seconds = (Date.parse(closedAt ?? '') - Date.parse(startedAt)) / 1000;
  console.info(`${seconds} s, ${historyEvents} events, ${Math.round(peak / MiB)} MiB at most`);
  expect(historyEvents).toBeLessThan(1500);
  expect(peak).toBeLessThan(300 * MiB);
  const { objects, uploads } = await sink.state();
  expect(objects.get(`null/${name}`)).toMatchObject({ size: SIZE, parts: MAX_PARTS });
  expect(uploads).toBe(0);
});

/** Largest resident size so far, in bytes. */
async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
