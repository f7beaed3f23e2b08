/** What S3 answers, loses or spoils: the upload's outcome is told as it is, once. */
import {
  AbortMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';

const SIZE = 40 * MiB + 1;
let rig: Rig;

beforeAll(async () => {
  // A stalled socket is given up after two seconds here, not sixty.
  rig = await startRig({ env: { LONGSHORE_S3_READ_TIMEOUT: '2s' } });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

async function abortByStranger({ client, name }: TestBucket): Promise<void> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: name }));
  for (const { Key, UploadId } of Uploads) {
    await client.send(new AbortMultipartUploadCommand({ Bucket: name, Key, UploadId }));
  }
}

describe('the answer of CompleteMultipartUpload', () => {
  it.each([
    ['is lost', faults.dropReply()],
    ['is cut', faults.cutReply()],
  ])('%s: reported as success once, with one object', async (_what, fault) => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 }, fault);
    const { id } = await rig.start(file, bucket);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ size: SIZE, verification: 'full', generations: 1 });
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(await keysIn(bucket)).toEqual([file.name]);
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(1);
  });

  it.each([
    ['without a newline', false, false],
    ['with a newline at its end', true, false],
    ['though the server did complete', true, true],
  ])('is 200 with an error body, %s: tried again', async (_what, trailingNewline, forward) => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault(
      { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
      faults.errorUnder200('InternalError', { trailingNewline, forward }),
    );
    const { id } = await rig.start(file, bucket);
    expect(await rig.client.result(id)).toMatchObject({ size: SIZE, generations: 1 });
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it('is lost, and the upload aborted by someone else over an older object: sent afresh, never called done before', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    await bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: file.name, Body: 'older' }));
    // The request never reaches S3, and meanwhile a stranger aborts.
    rig.proxy.fault(
      { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
      faults.hook({ before: () => abortByStranger(bucket) }),
    );
    rig.proxy.fault({ op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 }, faults.reset());
    const { id } = await rig.start(file, bucket);
    const result = await rig.client.result(id);
    expect(result.generations).toBe(2);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(2);
  });

  it('is lost, the upload aborted, and someone else wrote to the key meanwhile: OutcomeUnknown, and theirs stays', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    const theirs = new PutObjectCommand({ Bucket: bucket.name, Key: file.name, Body: 'theirs' });
    const meddle = async (): Promise<void> => {
      await abortByStranger(bucket);
      await bucket.client.send(theirs);
    };
    rig.proxy.fault(
      { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
      faults.hook({ before: meddle }),
    );
    rig.proxy.fault({ op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 }, faults.reset());
    const { id } = await rig.start(file, bucket);
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'OutcomeUnknown',
      message: expect.stringContaining('ETag') as unknown,
    });
    expect(
      (await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: file.name })))
        .ContentLength,
    ).toBe(6);
    expect(await rig.row(id)).toMatchObject({ state: 'FAILED', failure: { code: 'OutcomeUnknown' } });
  });
});

describe('a multipart upload', () => {
  it('that someone else aborts in the middle is begun afresh; old parts are never used', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault(
      { op: 'UploadPart', bucket: bucket.name, part: 4, times: 1 },
      faults.hook({ before: () => abortByStranger(bucket) }),
    );
    const { id } = await rig.start(file, bucket, { options: { concurrency: 1 } });
    const result = await rig.client.result(id);
    expect(result.generations).toBe(2);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    // All parts were sent to the second upload, those of the first again.
    expect(rig.proxy.parts({ bucket: bucket.name }).get(1)?.count).toBe(2);
  });

  it('finishes through 30 % of 503 SlowDown', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    const fault = rig.proxy.fault({ bucket: bucket.name, probability: 0.3 }, faults.status(503, 'SlowDown'));
    const { id } = await rig.start(file, bucket, { options: { partSize: 5 * MiB } });
    await rig.client.result(id);
    expect(fault.hits).toBeGreaterThan(0);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it('sends one part again when its socket stalls, within the time limit', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name, part: 3, times: 1 }, faults.stall());
    const started = performance.now();
    const { id } = await rig.start(file, bucket);
    await rig.client.result(id);
    expect(performance.now() - started).toBeLessThan(20_000);
    const parts = rig.proxy.parts({ bucket: bucket.name });
    expect([...parts].filter(([, { count }]) => count > 1).map(([part]) => part)).toEqual([3]);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it.each([
    ['is reset in the middle', faults.reset(3 * MiB)],
    ['loses its answer', faults.dropReply()],
    ['has its answer cut', faults.cutReply()],
  ])('sends a part again that %s, and no other', async (_what, fault) => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name, part: 2, times: 1 }, fault);
    const { id } = await rig.start(file, bucket);
    await rig.client.result(id);
    const parts = rig.proxy.parts({ bucket: bucket.name });
    expect([...parts].filter(([, { count }]) => count > 1).map(([part]) => part)).toEqual([2]);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it('whose Create answer is lost succeeds; the orphan is the sweep’s', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    rig.proxy.fault({ op: 'CreateMultipartUpload', bucket: bucket.name, times: 1 }, faults.dropReply());
    const { id } = await rig.start(file, bucket);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    // Nobody knows its id but S3, so the test clears it away as the sweep will.
    const row = await rig.row(id);
    expect(row).toMatchObject({ bucket: bucket.name, key: file.name });
    await abortByStranger(bucket);
  });
});

describe('a single PutObject', () => {
  it('whose answer is lost is found by its token, and not sent again', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1 * MiB);
    // All tries of the first activity attempt lose their answer.
    rig.proxy.fault({ op: 'PutObject', bucket: bucket.name, times: 5 }, faults.dropReply());
    const { id } = await rig.start(file, bucket, { options: { ifNoneMatch: '*' } });
    expect(await rig.client.result(id)).toMatchObject({ size: 1 * MiB, verification: 'full' });
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it('with If-None-Match over someone’s object fails, and theirs stays', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1 * MiB);
    await bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: file.name, Body: 'theirs' }));
    const { id } = await rig.start(file, bucket, { options: { ifNoneMatch: '*' } });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'PreconditionFailed' });
    expect(
      (await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: file.name })))
        .ContentLength,
    ).toBe(6);
  });

  it('of multipart size with If-None-Match fails at Complete, and leaves nothing', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(SIZE);
    await bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: file.name, Body: 'theirs' }));
    const { id } = await rig.start(file, bucket, { options: { ifNoneMatch: '*' } });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'PreconditionFailed' });
    expect(
      (await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: file.name })))
        .ContentLength,
    ).toBe(6);
  });
});
