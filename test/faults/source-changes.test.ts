/** A source that changes on the way: nothing at the key, nothing left in S3, and a failure that says so. */
import { appendFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { faults } from '../helpers/fault-proxy.js';
import { failureOf, keysIn, reached, startRig, type Rig, type TestFile } from '../helpers/rig.js';

const SIZE = 96 * MiB;
let rig: Rig;

beforeAll(async () => {
  rig = await startRig();
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

const changes: [string, (file: TestFile) => Promise<void>][] = [
  ['grows', (file) => appendFile(file.path, 'more')],
  ['is truncated', (file) => truncate(file.path, SIZE / 2)],
  [
    'is replaced by another of the same size',
    async (file) => {
      await writeFile(`${file.path}.new`, Buffer.alloc(SIZE));
      await rename(`${file.path}.new`, file.path);
    },
  ],
  ['is deleted', (file) => rm(file.path)],
  ['is written to in place', (file) => utimes(file.path, new Date(), new Date(Date.now() + 5000))],
];

describe('a file that', () => {
  it.each(changes)('%s in the middle of its upload', async (_what, change) => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(40 * MiB));
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, SIZE / 4);
    await change(file);
    const sent = rig.proxy.bytesReceived;
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'SourceChanged',
      hint: expect.stringMatching(/again/) as unknown,
    });
    // The parts that were under way, and those that had been read already: far less than a window.
    expect(rig.proxy.bytesReceived - sent).toBeLessThanOrEqual(2 * 4 * 8 * MiB);
    expect(await keysIn(bucket)).toEqual([]);
    expect(await rig.row(id)).toMatchObject({ state: 'FAILED', failure: { code: 'SourceChanged' } });
  });

  it('changes after its last part is found out before Complete', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    const change = (): Promise<void> => appendFile(file.path, 'more');
    rig.proxy.fault(
      { op: 'UploadPart', bucket: bucket.name, part: SIZE / (8 * MiB) },
      faults.hook({ after: change }),
    );
    const { id } = await rig.start(file, bucket, { options: { concurrency: 1 } });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceChanged' });
    expect(await keysIn(bucket)).toEqual([]);
  });

  it('changes while a small one is put', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1 * MiB);
    await rm(file.path);
    const { id } = await rig.start(file, bucket);
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceNotFound' });
  });
});

describe('an object as source that is overwritten in the middle', () => {
  it('fails as SourceChanged, with what was at the destination untouched', async () => {
    const bucket = await rig.bucket();
    const put = (body: Buffer): Promise<unknown> =>
      bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: 'from', Body: body }));
    await put(Buffer.alloc(32 * MiB, 1));
    rig.proxy.fault(
      { op: 'UploadPartCopy', bucket: bucket.name, part: 3, times: 1 },
      faults.hook({ before: () => put(Buffer.alloc(32 * MiB, 2)).then(() => undefined) }),
    );
    const { id } = await rig.client.startUpload({
      source: { kind: 'object', bucket: bucket.name, key: 'from' },
      destination: { bucket: bucket.name, key: 'to' },
      options: { partSize: 8 * MiB, concurrency: 1 },
    });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceChanged' });
    await expect(
      bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: 'to' })),
    ).rejects.toThrow();
  });
});
