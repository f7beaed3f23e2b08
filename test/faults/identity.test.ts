/** One id is one upload. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { faults } from '../helpers/fault-proxy.js';
import { startRig, type Rig } from '../helpers/rig.js';

let rig: Rig;

beforeAll(async () => {
  rig = await startRig();
});
afterAll(() => rig.close());

describe('an id', () => {
  it('started twice with the same input is one upload', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(20 * MiB);
    const id = randomUUID();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.delay(300));
    const first = await rig.start(file, bucket, { id });
    const second = await rig.start(file, bucket, { id });
    expect(second.runId).toBe(first.runId);
    expect(second.fresh).toBe(false);
    await rig.client.result(id);
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(1);
  });

  it('with another input is a conflict, while it runs and after', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(20 * MiB);
    const id = randomUUID();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.delay(300));
    await rig.start(file, bucket, { id });
    const other = { id, options: { contentType: 'text/plain' } };
    await expect(rig.start(file, bucket, other)).rejects.toMatchObject({ code: 'Conflict' });
    await rig.client.result(id);
    await expect(rig.start(file, bucket, other)).rejects.toMatchObject({ code: 'Conflict' });
  });

  it('that is complete is refused, with its result', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1000);
    const id = randomUUID();
    await rig.start(file, bucket, { id });
    const result = await rig.client.result(id);
    await expect(rig.start(file, bucket, { id })).rejects.toMatchObject({
      code: 'AlreadyCompleted',
      cause: result,
    });
  });

  it('that failed may be started again, and the catalog counts the attempts', async () => {
    const bucket = await rig.bucket();
    const id = randomUUID();
    const name = randomUUID();
    await rig.start({ name }, bucket, { id });
    await expect(rig.client.result(id)).rejects.toMatchObject({ code: 'SourceNotFound' });
    await rig.file(1000, name);
    await rig.start({ name }, bucket, { id });
    await rig.client.result(id);
    const row = await rig.row(id);
    expect(row).toMatchObject({ state: 'COMPLETED', attempts: 2 });
    expect(row?.failure).toBeNull();
  });

  it('started a hundred times at once is one run', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(20 * MiB);
    const id = randomUUID();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.delay(500));
    const started = await Promise.all(Array.from({ length: 100 }, () => rig.start(file, bucket, { id })));
    expect(new Set(started.map(({ runId }) => runId)).size).toBe(1);
    await rig.client.result(id);
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(1);
    expect(rig.proxy.calls('CompleteMultipartUpload', { bucket: bucket.name })).toBe(1);
  });
});
