/** Workers that are told to stop, and uploads that nobody works on. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { lastJson, longshore, startWorker, type TestProcess } from '../helpers/processes.js';
import { objectSha256, reached, startRig, type Rig, type TestFile } from '../helpers/rig.js';
import { bytesTwice, confirmedTwice, nextPartAfter, untilMidPart } from '../helpers/sent.js';
import { eventually } from '../helpers/wait.js';

const SIZE = 256 * MiB;
const GRACE_MS = 4000;
let rig: Rig;

beforeAll(async () => {
  rig = await startRig({ worker: false });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

interface Started {
  worker: TestProcess;
  id: string;
  file: TestFile;
  bucket: TestBucket;
}

/** An upload in the middle of its parts, on the only worker. */
async function uploading(graceMs: number): Promise<Started> {
  const file = await rig.bigFile(SIZE);
  const bucket = await rig.bucket();
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(16 * MiB));
  const worker = await startWorker(graceful(graceMs));
  const { id } = await rig.start(file, bucket);
  await reached(rig.client, id, SIZE / 8);
  return { worker, id, file, bucket };
}

function graceful(graceMs: number) {
  const env = { ...rig.surroundings.env, LONGSHORE_SHUTDOWN_GRACE: `${graceMs}ms` };
  return { ...rig.surroundings, env };
}

describe('SIGTERM of a worker in the middle of a part', () => {
  it('it leaves within its grace time with 0, and another goes on within 3 s; nothing confirmed is sent again', async () => {
    const { worker, id, file, bucket } = await uploading(GRACE_MS);
    await startWorker(rig.surroundings);
    await untilMidPart(rig.proxy, bucket.name);
    const told = performance.now();
    expect(await worker.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    const left = performance.now();
    const goesOn = await nextPartAfter(rig.proxy, bucket.name, left);
    console.info(`left after ${(left - told).toFixed()} ms, went on ${goesOn.toFixed()} ms later`);
    expect(left - told).toBeLessThan(GRACE_MS);
    expect(goesOn).toBeLessThan(3000);
    rig.proxy.clearFaults();
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(confirmedTwice(rig.proxy, bucket.name)).toEqual([]);
    expect(bytesTwice(rig.proxy, bucket.name, SIZE)).toBeLessThanOrEqual(32 * MiB);
  });

  it('a second one ends it at once; status answers though no worker lives, and the next worker goes on', async () => {
    const { worker, id, file, bucket } = await uploading(60_000);
    worker.signal('SIGTERM');
    await worker.said(/another signal ends at once/);
    await untilMidPart(rig.proxy, bucket.name);
    const told = performance.now();
    expect(await worker.kill('SIGTERM')).toEqual({ code: 1, signal: null });
    expect(performance.now() - told).toBeLessThan(1000);

    expect(await statusOf(id)).toMatchObject({ state: 'UPLOADING', progress: { bytesTotal: SIZE } });
    const { progress } = await rig.client.view(id);
    expect(progress.bytesDone).toBeGreaterThanOrEqual(SIZE / 8);
    // Also once Temporal has missed the worker, when the figures are those of an attempt that is over.
    await eventually(() => isMissed(id), { timeout: 20_000, what: 'the heartbeat timeout' });
    const later = await rig.client.view(id);
    expect(later).toMatchObject({ state: 'UPLOADING', closedAt: undefined });
    expect(later.progress.bytesDone).toBeGreaterThanOrEqual(progress.bytesDone);

    rig.proxy.clearFaults();
    await startWorker(rig.surroundings);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(await statusOf(id)).toMatchObject({ state: 'COMPLETED', size: SIZE });
  });

  it('that has nothing to do: it leaves at once with 0', async () => {
    const worker = await startWorker(graceful(60_000));
    const told = performance.now();
    expect(await worker.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(performance.now() - told).toBeLessThan(5000);
  });
});

async function statusOf(id: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await longshore(['status', id, '--json'], rig.surroundings);
  expect(code, stderr).toBe(0);
  return lastJson(stdout);
}

async function isMissed(id: string): Promise<boolean> {
  const { workflowId } = await rig.client.view(id);
  const { raw } = await rig.temporal.client.workflow.getHandle(workflowId).describe();
  return (raw.pendingActivities ?? []).some(({ attempt }) => (attempt ?? 1) > 1);
}
