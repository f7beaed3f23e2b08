/** Pause, resume and cancel of real transfers, in every phase. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { Monotonic } from '../../src/client/live-progress.js';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { faults } from '../helpers/fault-proxy.js';
import { failureOf, keysIn, objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { eventually, stays } from '../helpers/wait.js';

const SIZE = 96 * MiB;
let rig: Rig;

beforeAll(async () => {
  rig = await startRig();
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

describe('pause', () => {
  it('stops every byte within 3 s, and resume sends nothing twice', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(2 * SIZE);
    // What is in flight, 32 MiB, needs less than the time that an attempt has to end it.
    const slow = rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(64 * MiB));
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, SIZE / 4);
    await rig.client.pause(id);
    const asked = performance.now();
    await eventually(async () => (await rig.client.view(id)).state === 'PAUSED');
    await eventually(() => performance.now() - asked > 3000, { timeout: 4000 });
    const until3s = rig.proxy.bytesReceived;
    await stays(() => rig.proxy.bytesReceived === until3s, 2000, 'silence on the wire');
    const view = await rig.client.view(id);
    expect(view.progress.bytesDone).toBeGreaterThan(0);
    slow.remove();
    await rig.client.resume(id);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    const twice = [...rig.proxy.parts({ bucket: bucket.name })].filter(([, { count }]) => count > 1);
    expect(twice).toEqual([]);
  });
});

describe('cancel', () => {
  const phases: [string, Parameters<Rig['proxy']['fault']>[0], Parameters<Rig['proxy']['fault']>[1]][] = [
    ['creating', { op: 'CreateMultipartUpload' }, faults.delay(1500)],
    ['sending a part', { op: 'UploadPart', part: 3 }, faults.stall()],
    ['completing', { op: 'CompleteMultipartUpload' }, faults.delay(1500)],
    ['completing, with the server stalled', { op: 'CompleteMultipartUpload' }, faults.stall()],
    ['verifying', { op: 'HeadObject', key: /./ }, faults.delay(1000)],
  ];

  it.each(phases)(
    'while %s: within 5 s aborted with nothing left, or honestly completed',
    async (_phase, match, fault) => {
      const bucket = await rig.bucket();
      const file = await rig.file(40 * MiB);
      const { op } = match;
      // The first HEAD is of the key before Create; the one that verifies comes last.
      const after = op === 'HeadObject' ? 1 : 0;
      const rule = rig.proxy.fault({ ...match, bucket: bucket.name, after }, fault);
      const { id } = await rig.start(file, bucket);
      await eventually(() => rule.hits > 0, { timeout: 30_000 });
      await rig.client.cancel(id);
      const asked = performance.now();
      await rig.client.result(id).catch(() => undefined);
      expect(performance.now() - asked).toBeLessThan(5000);
      const { state } = await rig.client.view(id);
      expect(['CANCELLED', 'COMPLETED']).toContain(state);
      expect(await keysIn(bucket)).toEqual(state === 'COMPLETED' ? [file.name] : []);
      expect(await rig.row(id)).toMatchObject({ state });
      if (state === 'COMPLETED') expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    },
  );

  it('while putting a small object', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1 * MiB);
    const rule = rig.proxy.fault({ op: 'PutObject', bucket: bucket.name }, faults.stall());
    const { id } = await rig.start(file, bucket);
    await eventually(() => rule.hits > 0);
    await rig.client.cancel(id);
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'Cancelled' });
    expect(await keysIn(bucket)).toEqual([]);
  });

  it('by Temporal’s own Cancel, as the Web UI sends it, while paused', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(30 * MiB));
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, SIZE / 8);
    await rig.client.pause(id);
    await eventually(async () => (await rig.client.view(id)).state === 'PAUSED');
    await rig.temporal.client.workflow.getHandle(uploadWorkflowId(id)).cancel();
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'Cancelled' });
    expect((await rig.client.view(id)).state).toBe('CANCELLED');
    expect(await rig.row(id)).toMatchObject({ state: 'CANCELLED' });
  });

  it('after the end is refused, with what the upload came to', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1);
    const { id } = await rig.start(file, bucket);
    await rig.client.result(id);
    await expect(rig.client.cancel(id)).rejects.toMatchObject({ code: 'NotRunning' });
    await expect(rig.client.cancel('nobody-knows-it')).rejects.toMatchObject({ code: 'NotFound' });
  });
});

describe('progress', () => {
  it('is live: at most 2 s old, and ever rising, while a single window runs', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(24 * MiB));
    // Small steps: parts that share the wire end together.
    const { id } = await rig.start(file, bucket, { options: { partSize: 5 * MiB, concurrency: 2 } });
    const seen: { at: number; done: number; really: number }[] = [];
    // As every watcher does: between the end of a window and the memo that counts it, neither tells of it.
    const monotonic = new Monotonic();
    for (
      let view = await rig.client.view(id);
      view.closedAt === undefined;
      view = await rig.client.view(id)
    ) {
      const parts = [...rig.proxy.log].filter(
        (call) => call.op === 'UploadPart' && call.bucket === bucket.name,
      );
      const really = parts.filter((call) => call.status === 200).reduce((sum, call) => sum + call.bytes, 0);
      seen.push({ at: performance.now(), done: monotonic.next(view.progress).bytesDone, really });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const rising = seen.every(({ done }, index) => index === 0 || done >= (seen[index - 1]?.done ?? 0));
    expect(rising).toBe(true);
    expect(new Set(seen.map(({ done }) => done)).size).toBeGreaterThan(4);
    for (const { at, done } of seen) {
      const twoSecondsAgo = seen.findLast((earlier) => earlier.at <= at - 2000);
      if (twoSecondsAgo !== undefined) expect(done).toBeGreaterThanOrEqual(twoSecondsAgo.really);
    }
  });
});
