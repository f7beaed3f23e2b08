/** An object of another store as source: its bytes pass through the worker, pinned by their ETag. */
import { createHash, randomBytes } from 'node:crypto';
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { UploadOptions } from '../../src/core/uploads.js';
import { testBucket, type TestBucket } from '../helpers/buckets.js';
import { faults, startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { isSkipped, part, type S3Address } from '../helpers/stack.js';

const PART = 5 * MiB;
const KEY = 'a folder/from +&ü';

describe.skipIf(isSkipped('minio'))('a source on MinIO, a destination on versitygw', () => {
  let rig: Rig;
  let minio: FaultProxy;

  beforeAll(async () => {
    minio = await startFaultProxy(part('minio').endpoint);
    rig = await startRig({
      env: {
        LONGSHORE_THRESHOLD: '5MiB',
        ...store('OTHER_SITE', { ...part('minio'), endpoint: minio.endpoint }),
        ...store('WRONG', { ...part('minio'), secretAccessKey: 'not-the-secret' }),
      },
    });
  });
  afterEach(() => {
    rig.proxy.clearFaults();
    minio.clearFaults();
  });
  afterAll(async () => {
    await rig.close();
    await minio.close();
  });

  async function prepare(size: number): Promise<{ from: TestBucket; to: TestBucket; body: Buffer }> {
    const [from, to] = await Promise.all([testBucket('minio'), rig.bucket()]);
    const body = randomBytes(size);
    await put(from, body);
    return { from, to, body };
  }

  async function send(
    { from, to }: { from: TestBucket; to: TestBucket },
    options: UploadOptions = {},
    store = 'other-site',
  ): Promise<string> {
    const { id } = await rig.client.startUpload({
      source: { kind: 'object', store, bucket: from.name, key: KEY },
      destination: { bucket: to.name, key: 'to' },
      options: { partSize: PART, ...options },
    });
    return id;
  }

  it.each([
    ['empty', 0],
    ['small', 100],
    ['large', 3 * PART + 7],
  ])('a %s object arrives whole, with its content type', async (_what, size) => {
    const { from, to, body } = await prepare(size);
    const id = await send({ from, to }, { demand: 'full' });
    expect(await rig.client.result(id)).toMatchObject({ size, bytesSent: size, verification: 'full' });
    expect(await objectSha256(to, 'to')).toBe(sha256(body));
    const head = await to.client.send(new HeadObjectCommand({ Bucket: to.name, Key: 'to' }));
    expect(head.ContentType).toBe('a/b');
  });

  it('is read in parts, and a part whose answer is cut short is read again, not sent again', async () => {
    const { from, to, body } = await prepare(3 * PART);
    minio.fault({ op: 'GetObject', bucket: from.name, after: 1, times: 1 }, faults.cutReply());
    const id = await send({ from, to }, { concurrency: 1 });
    expect(await rig.client.result(id)).toMatchObject({ bytesSent: 3 * PART });
    expect(await objectSha256(to, 'to')).toBe(sha256(body));
    expect(rig.proxy.calls('UploadPart', { bucket: to.name })).toBe(3);
    // Once more for the part that was cut, and once for the one before it where no heartbeat told of it in time.
    expect([4, 5]).toContain(minio.calls('GetObject', { bucket: from.name }));
  });

  it('overwritten in the middle fails as SourceChanged, and leaves nothing', async () => {
    const { from, to } = await prepare(3 * PART);
    const overwrite = faults.hook({ before: () => put(from, Buffer.alloc(3 * PART)) });
    const fault = minio.fault({ op: 'GetObject', bucket: from.name, after: 1, times: 1 }, overwrite);
    const id = await send({ from, to }, { concurrency: 1 });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceChanged' });
    expect(fault.hits).toBe(1);
    expect(await keysIn(to)).toEqual([]);
    expect(await rig.row(id)).toMatchObject({ state: 'FAILED', failure: { code: 'SourceChanged' } });
  });

  it('that is not there fails as SourceNotFound', async () => {
    const { from, to } = { from: await rig.bucket(), to: await rig.bucket() };
    const id = await send({ from, to });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceNotFound' });
  });

  it('of a store that nobody configured says which setting is missing', async () => {
    const id = await send(await prepare(10), {}, 'no-such-store');
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'SourceInvalid',
      message: expect.stringContaining('other-site') as unknown,
      hint: expect.stringContaining('LONGSHORE_STORES_NO_SUCH_STORE_ENDPOINT') as unknown,
    });
  });

  it('with the wrong secret fails at once, and tells it to nobody', async () => {
    const id = await send(await prepare(10), {}, 'wrong');
    const failure = await failureOf(rig.client, id);
    // A HEAD's refusal has no body that would say more than 403.
    expect(failure).toMatchObject({ code: 'SourceDenied' });
    expect(JSON.stringify(failure)).not.toContain('not-the-secret');
  });
});

describe('a named store that is the destination’s own', () => {
  it.each([100, 2 * PART + 3])('is copied by the server, %i bytes', async (size) => {
    const rig = await startRig({ env: (s3) => ({ LONGSHORE_THRESHOLD: '5MiB', ...store('SAME', s3) }) });
    try {
      const [from, to] = [await rig.bucket(), await rig.bucket()];
      const body = randomBytes(size);
      await put(from, body);
      const { id } = await rig.client.startUpload({
        source: { kind: 'object', store: 'same', bucket: from.name, key: KEY },
        destination: { bucket: to.name, key: 'to' },
        options: { partSize: PART },
      });
      expect(await rig.client.result(id)).toMatchObject({ size, bytesSent: 0 });
      expect(await objectSha256(to, 'to')).toBe(sha256(body));
      expect(rig.proxy.calls('GetObject')).toBe(0);
    } finally {
      await rig.close();
    }
  });
});

function sha256(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

async function put({ client, name }: TestBucket, body: Buffer): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: name, Key: KEY, Body: body, ContentType: 'a/b' }));
}

function store(name: string, address: S3Address): Record<string, string> {
  const prefix = `LONGSHORE_STORES_${name}`;
  return {
    [`${prefix}_ENDPOINT`]: address.endpoint,
    [`${prefix}_REGION`]: address.region,
    [`${prefix}_ACCESS_KEY_ID`]: address.accessKeyId,
    [`${prefix}_SECRET_ACCESS_KEY`]: address.secretAccessKey,
  };
}
