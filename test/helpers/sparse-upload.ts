/** An upload of a sparse file in many parts into the null sink, and what it cost. */
import { randomUUID } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { MIN_PART_SIZE } from '../../src/core/limits.js';
import { forkNullSink } from './null-sink-process.js';
import { startWorker } from './processes.js';
import { startRig, type Rig } from './rig.js';

export interface SparseUpload {
  historyEvents: number;
  /** Largest resident size of the worker, in bytes. */
  peakMemory: number;
  seconds: number;
}

/** `parts` parts of 5 MiB, with checksums. Throws unless the whole of it is there, once, and nothing else. */
export async function uploadSparse(parts: number): Promise<SparseUpload> {
  const [rig, sink] = await Promise.all([startRig({ worker: false }), forkNullSink()]);
  try {
    const cost = await upload(rig, sink.endpoint, parts);
    const { objects, uploads } = await sink.state();
    expect([...objects.values()]).toMatchObject([{ size: parts * MIN_PART_SIZE, parts }]);
    expect(uploads).toBe(0);
    return cost;
  } finally {
    await rig.close();
    await sink.close();
  }
}

async function upload(rig: Rig, endpoint: string, parts: number): Promise<SparseUpload> {
  const name = randomUUID();
  const size = parts * MIN_PART_SIZE;
  await writeFile(join(rig.folder, name), '');
  await truncate(join(rig.folder, name), size);
  const { s3 } = rig.surroundings;
  if (s3 === undefined) throw new Error('the rig has no S3 server');
  // Past the proxy, which would cost more than the upload.
  const worker = await startWorker({ ...rig.surroundings, s3: { ...s3, endpoint } });
  const { id } = await rig.client.startUpload({
    source: { kind: 'file', root: 'files', path: name },
    destination: { bucket: 'null', key: name },
    options: { partSize: MIN_PART_SIZE },
  });
  const result = await rig.client.result(id);
  expect(result).toMatchObject({ size, parts, bytesSent: size, verification: 'full' });
  const { historyEvents, startedAt, closedAt = '' } = await rig.client.view(id);
  const seconds = (Date.parse(closedAt) - Date.parse(startedAt)) / 1000;
  const peakMemory = await peakOf(worker.pid);
  await worker.end();
  console.info(
    `${parts} parts: ${seconds} s, ${historyEvents} events, ${Math.round(peakMemory / 2 ** 20)} MiB`,
  );
  return { historyEvents, peakMemory, seconds };
}

async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
