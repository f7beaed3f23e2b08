/** A worker is killed hard: another goes on where it was, at once and with next to nothing sent twice. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_CONCURRENCY, DEFAULT_PART_SIZE, GiB, MiB } from '../../src/core/limits.js';
import { faults } from '../helpers/fault-proxy.js';
import { startWorker } from '../helpers/processes.js';
import { keysIn, objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { bytesTwice, confirmedTwice, nextPartAfter, untilMidPart } from '../helpers/sent.js';
import { eventually } from '../helpers/wait.js';

/** Slow enough that the half is seen, fast enough for a GiB. */
const RATE = 150 * MiB;
const IN_FLIGHT = DEFAULT_CONCURRENCY * DEFAULT_PART_SIZE;
let rig: Rig;

beforeAll(async () => {
  rig = await startRig({ worker: false });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

describe('kill -9 of the worker at half', () => {
  it('of 1 GiB, another worker waiting: it goes on within 12 s, and sends at most the parts in flight again', async () => {
    const file = await rig.bigFile(GiB);
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(RATE));
    const first = await startWorker(rig.surroundings);
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, 64 * MiB);
    const second = await startWorker(rig.surroundings);
    await reached(rig.client, id, file.size / 2);
    await untilMidPart(rig.proxy, bucket.name);
    await first.kill('SIGKILL');
    const killed = performance.now();
    const goesOn = await nextPartAfter(rig.proxy, bucket.name, killed);
    expect(goesOn).toBeLessThan(12_000);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ size: file.size, verification: 'full', generations: 1 });
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    const twice = bytesTwice(rig.proxy, bucket.name, file.size);
    expect(twice).toBeLessThanOrEqual(IN_FLIGHT);
    expect(twice).toBeLessThanOrEqual(0.05 * file.size);
    expect(await keysIn(bucket)).toEqual([file.name]);
    expect(second.running).toBe(true);
    report({ goesOn, twice });
  });

  it('of the only worker: one that is started after it goes on within 12 s', async () => {
    const file = await rig.bigFile(256 * MiB);
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(50 * MiB));
    const first = await startWorker(rig.surroundings);
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, file.size / 2);
    await untilMidPart(rig.proxy, bucket.name);
    await first.kill('SIGKILL');
    const killed = performance.now();
    await startWorker(rig.surroundings);
    const goesOn = await nextPartAfter(rig.proxy, bucket.name, killed);
    expect(goesOn).toBeLessThan(12_000);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(bytesTwice(rig.proxy, bucket.name, file.size)).toBeLessThanOrEqual(IN_FLIGHT);
    report({ goesOn, twice: bytesTwice(rig.proxy, bucket.name, file.size) });
  });
});

describe('kill -9 of the worker during CompleteMultipartUpload', () => {
  it.each([
    ['after S3 made the object', 'after'],
    ['before S3 heard of it', 'before'],
  ] as const)('%s: success, one object, completed once', async (_what, when) => {
    const file = await rig.file(40 * MiB);
    const bucket = await rig.bucket();
    const first = await startWorker(rig.surroundings);
    // Waiting for the end lets the connection close before the proxy goes on.
    const kill = async (): Promise<void> => void (await first.kill('SIGKILL'));
    rig.proxy.fault(
      { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
      faults.hook({ [when]: kill }),
    );
    const { id } = await rig.start(file, bucket);
    await first.exited;
    const second = await startWorker(rig.surroundings);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ size: file.size, verification: 'full', generations: 1 });
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(await keysIn(bucket)).toEqual([file.name]);
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(1);
    const answered = rig.proxy.log.filter(
      (call) => call.op === 'CompleteMultipartUpload' && call.bucket === bucket.name && call.status === 200,
    );
    expect(answered.length).toBe(1);
    expect(confirmedTwice(rig.proxy, bucket.name)).toEqual([]);
    await eventually(async () => (await rig.row(id))?.state === 'COMPLETED');
    expect(await rig.row(id)).toMatchObject({ etag: result.etag, attempts: 1, failure: null });
    expect(second.running).toBe(true);
  });
});

function report(figures: { goesOn: number; twice: number }): void {
  const { goesOn, twice } = figures;
  console.info(`went on after ${(goesOn / 1000).toFixed(1)} s, ${(twice / MiB).toFixed(1)} MiB sent twice`);
}
