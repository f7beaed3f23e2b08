/** Encryption on a server that has it: what was asked for is what the object says of itself. */
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { Encryption } from '../../src/core/uploads.js';
import type { TestBucket } from '../helpers/buckets.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig, type TestFile } from '../helpers/rig.js';
import { isSkipped } from '../helpers/stack.js';

const PART = 5 * MiB;
/** The key that the test stack gives MinIO. */
const KEY = 'longshore-test';
const SIZES = [
  ['small', 10],
  ['large', 2 * PART + 3],
] as const;

describe.skipIf(isSkipped('minio'))('on MinIO', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig({ server: 'minio', env: { LONGSHORE_THRESHOLD: '5MiB' } });
  });
  afterAll(() => rig.close());

  const ways: [string, Encryption, object][] = [
    ['SSE-S3', { type: 'SSE_S3' }, { ServerSideEncryption: 'AES256' }],
    ['SSE-KMS', { type: 'SSE_KMS', kmsKeyId: KEY }, kms()],
    ['SSE-KMS with the server’s key', { type: 'SSE_KMS' }, kms()],
  ];
  const cases = ways.flatMap(([name, encryption, head]) =>
    SIZES.map(([how, size]) => ({ name, how, size, encryption, head })),
  );

  it.each(cases)('$name is on a $how object, which reads back whole', async ({ size, encryption, head }) => {
    const { bucket, file, id } = await send(rig, size, encryption);
    expect(await rig.client.result(id)).toMatchObject({ size, verification: 'full' });
    expect(await headOf(bucket, file)).toMatchObject(head);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  });

  it.each(SIZES)(
    'an unknown KMS key fails a %s object soon, and leaves nothing',
    async (_how, size) => {
      const { bucket, id } = await send(rig, size, { type: 'SSE_KMS', kmsKeyId: 'no-such-key' });
      const failure = await failureOf(rig.client, id);
      expect(failure).toMatchObject({
        code: 'InvalidRequest',
        message: expect.stringMatching(/kms/i) as unknown,
        hint: expect.stringMatching(/KMS key/) as unknown,
      });
      expect(await keysIn(bucket)).toEqual([]);
      // Each call was made once: neither the client nor Temporal tried what cannot help again.
      expect(rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name })).toBe(1);
    },
    20_000,
  );

  it('nothing is encrypted that nobody asked to be', async () => {
    const { bucket, file, id } = await send(rig, 10);
    await rig.client.result(id);
    expect((await headOf(bucket, file)).ServerSideEncryption).toBeUndefined();
  });

  describe('configured as the default', () => {
    it.each([
      ['AES256', { ServerSideEncryption: 'AES256' }],
      [`aws:kms:${KEY}`, kms()],
    ])('%s is on what asks for nothing', async (setting, head) => {
      const configured = await startRig({
        server: 'minio',
        env: { LONGSHORE_SSE: setting, LONGSHORE_THRESHOLD: '5MiB' },
      });
      try {
        for (const [, size] of SIZES) {
          const { bucket, file, id } = await send(configured, size);
          await configured.client.result(id);
          expect(await headOf(bucket, file)).toMatchObject(head);
        }
      } finally {
        await configured.close();
      }
    });
  });
});

async function send(
  rig: Rig,
  size: number,
  encryption?: Encryption,
): Promise<{ bucket: TestBucket; file: TestFile; id: string }> {
  const [bucket, file] = [await rig.bucket(), await rig.file(size)];
  const options = { partSize: PART, ...(encryption === undefined ? {} : { encryption }) };
  const { id } = await rig.start(file, bucket, { options });
  return { bucket, file, id };
}

function headOf({ client, name }: TestBucket, { name: key }: TestFile) {
  return client.send(new HeadObjectCommand({ Bucket: name, Key: key }));
}

function kms(): object {
  return {
    ServerSideEncryption: 'aws:kms',
    SSEKMSKeyId: expect.stringMatching(new RegExp(`${KEY}$`)) as unknown,
  };
}
