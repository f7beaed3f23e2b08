/** SSE-C through every call of both stores, on a server that encrypts and on one that only nods. */
import { createHash, randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { crc32 } from '@node-rs/crc32';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crcToBase64 } from '../../src/activities/ledger.js';
import { combineCrc32 } from '../../src/core/crc32.js';
import { LongshoreError } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import type { Encryption } from '../../src/core/uploads.js';
import { customerKey, type CustomerKey } from '../../src/infra/keys/customer-key.js';
import { createAdaptiveLimiter } from '../../src/infra/s3/aimd.js';
import { createCredentialSource } from '../../src/infra/s3/credentials.js';
import { guardingKeys, withKey } from '../../src/infra/s3/customer-keys.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { createLeanStore } from '../../src/infra/s3/lean-store.js';
import { provingEncryption } from '../../src/infra/s3/proving.js';
import { createSdkStore } from '../../src/infra/s3/sdk-store.js';
import type { ObjectStore, StoreConfig } from '../../src/infra/s3/store.js';
import { testBucket } from '../helpers/buckets.js';
import { startMinioTls, type TlsServer } from '../helpers/minio-tls.js';
import { s3Servers } from '../helpers/s3-servers.js';
import { isSkipped } from '../helpers/stack.js';

const signal = new AbortController().signal;
const newKey = (): CustomerKey => customerKey(randomBytes(32));
const sseC = ({ md5 }: CustomerKey): Encryption => ({ type: 'SSE_C', keyRef: 'not-looked-at', keyMd5: md5 });
const STORES = [
  ['sdk', (config: StoreConfig) => createSdkStore(config)],
  [
    'lean',
    (config: StoreConfig) => {
      const credentials = createCredentialSource(config);
      const limiter = createAdaptiveLimiter({ max: 4 });
      return createLeanStore(config, createSdkStore(config, credentials), { credentials, limiter });
    },
  ],
] as const;

describe.skipIf(isSkipped('minio'))('on MinIO behind TLS', () => {
  let server: TlsServer;
  beforeAll(async () => {
    server = await startMinioTls();
  });
  afterAll(async () => {
    const left = await server.leftovers();
    await server.close();
    expect(left).toEqual([]);
  });

  describe.each(STORES)('the %s store', (_name, create) => {
    let store: ObjectStore;
    beforeAll(() => {
      store = create(server.config);
    });
    afterAll(() => store.close());

    it('puts an object that opens with its key alone', async () => {
      const { name: bucket } = await server.bucket();
      const [key, other] = [newKey(), newKey()];
      const at = { bucket, key: 'small' };
      const body = Buffer.from('only for those who have the key');
      const crc = crcToBase64(crc32(body));
      await withKey(store, key).putObject({ ...at, body, crc32: crc, encryption: sseC(key) }, signal);

      expect(await withKey(store, key).headObject(at, signal)).toMatchObject({
        size: body.length,
        encryption: { type: 'SSE_C', keyMd5: key.md5 },
      });
      expect(await text(await withKey(store, key).getObject(at, signal))).toBe(body.toString());
      await expect(store.headObject(at, signal)).rejects.toMatchObject({ code: 'WrongCustomerKey' });
      await expect(withKey(store, other).headObject(at, signal)).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:WrongCustomerKey|AccessDenied)$/) as unknown,
      });
      await expect(store.getObject(at, signal)).rejects.toMatchObject({ code: 'InvalidRequest' });
      await expect(withKey(store, other).getObject(at, signal)).rejects.toMatchObject({
        code: 'AccessDenied',
      });
    });

    it('sends parts, lists them, completes them, and copies the object from one key to another', async () => {
      const { name: bucket } = await server.bucket();
      const [from, to] = [newKey(), newKey()];
      const at = { bucket, key: 'large' };
      const parts = [randomBytes(5 * MiB), randomBytes(1234)];
      const crcs = parts.map((part) => crc32(part));
      const size = 5 * MiB + 1234;
      const whole = crcToBase64(combineCrc32(crcs[0] ?? 0, crcs[1] ?? 0, 1234));

      const keyed = withKey(store, from);
      const { s3UploadId } = await keyed.createMultipartUpload(
        { ...at, encryption: sseC(from), checksum: true },
        signal,
      );
      const upload = { ...at, s3UploadId };
      const sent = [];
      for (const [index, body] of parts.entries()) {
        const crc = crcToBase64(crcs[index] ?? 0);
        const { etag } = await keyed.uploadPart(
          { ...upload, partNumber: index + 1, body, crc32: crc },
          signal,
        );
        sent.push({ partNumber: index + 1, etag, crc32: crc });
      }
      const listed = await keyed.listParts(upload, signal);
      expect(listed.map(({ partNumber, etag }) => ({ partNumber, etag }))).toEqual(
        sent.map(({ partNumber, etag }) => ({ partNumber, etag })),
      );
      expect(listed.map(({ size }) => size)).toEqual([5 * MiB, 1234]);
      await keyed.completeMultipartUpload({ ...upload, parts: sent, crc32: whole, size }, signal);
      const head = await keyed.headObject(at, signal);
      expect(head).toMatchObject({ size, crc32: whole });

      const source = { ...at, ifMatch: head?.etag ?? '', customerKey: from };
      const rekeyed = withKey(store, to);
      const copied = { bucket, key: 'copied' };
      await rekeyed.copyObject({ ...copied, encryption: sseC(to), source }, signal);
      const again = await rekeyed.createMultipartUpload(
        { ...at, encryption: sseC(to), checksum: false },
        signal,
      );
      const second = { ...at, s3UploadId: again.s3UploadId };
      const moved = [];
      for (const [partNumber, offset, length] of [
        [1, 0, 5 * MiB],
        [2, 5 * MiB, 1234],
      ] as const) {
        const part = await rekeyed.uploadPartCopy({ ...second, partNumber, source, offset, length }, signal);
        moved.push({ partNumber, ...part });
      }
      const completion = { ...second, parts: moved, size };
      await expect(
        rekeyed.completeMultipartUpload({ ...completion, ifMatch: `"${'0'.repeat(32)}"` }, signal),
      ).rejects.toMatchObject({ code: 'PreconditionFailed' });
      await rekeyed.completeMultipartUpload({ ...completion, ifMatch: source.ifMatch }, signal);
      for (const key of ['copied', 'large']) {
        const bytes = await bytesOf(await rekeyed.getObject({ bucket, key }, signal));
        expect(sha256(bytes), key).toBe(sha256(Buffer.concat(parts)));
        await expect(keyed.headObject({ bucket, key }, signal), key).rejects.toMatchObject({
          code: expect.stringMatching(/^(?:WrongCustomerKey|AccessDenied)$/) as unknown,
        });
      }
    });

    it('hides the key in whatever it throws', async () => {
      const { name: bucket } = await server.bucket();
      const key = newKey();
      const at = { bucket, key: 'k', customerKey: key };
      const failures = await Promise.allSettled([
        store.getObject(at, signal),
        store.getObject({ ...at, bucket: 't-none' }, signal),
        store.uploadPart({ ...at, s3UploadId: 'none', partNumber: 1, body: Buffer.from('x') }, signal),
        store.copyObject({ ...at, encryption: sseC(key), source: { ...at, ifMatch: '"e"' } }, signal),
      ]);
      for (const failure of failures) {
        const reason: unknown = (failure as PromiseRejectedResult).reason;
        const seen = inspect(reason, { depth: 12, showHidden: true });
        expect(reason).toBeInstanceOf(LongshoreError);
        for (const secret of [key.key.toString('base64'), key.key.toString('hex')])
          expect(seen).not.toContain(secret);
      }
    });

    it('refuses SSE-C without its key, or with another, before anything is sent', async () => {
      const { name: bucket } = await server.bucket();
      const at = { bucket, key: 'k', encryption: sseC(newKey()) };
      const refused = { code: 'SecretUnavailable' };
      await expect(store.putObject({ ...at, body: Buffer.from('x') }, signal)).rejects.toMatchObject(refused);
      await expect(
        withKey(store, newKey()).createMultipartUpload({ ...at, checksum: true }, signal),
      ).rejects.toMatchObject(refused);
    });
  });

  it('the certificate is believed because configuration says so, and not otherwise', async () => {
    const { ca: _ca, ...without } = server.config;
    for (const [, create] of STORES) {
      const store = create(without);
      await expect(store.headBucket('t-none', signal)).rejects.toMatchObject({ code: 'S3Unavailable' });
      store.close();
    }
  });
});

describe('a server that accepts a customer’s key and does nothing with it', () => {
  it.skipIf(isSkipped('versitygw')).each(STORES)(
    'is found out by the %s store before a byte goes, and nothing is left',
    async (_name, create) => {
      const [{ config } = { config: undefined }] = (await s3Servers()).filter(
        ({ name }) => name === 'versitygw',
      );
      if (config === undefined) throw new Error('versitygw is missing');
      const bucket = await testBucket();
      const store = create(config);
      const key = newKey();
      const at = { bucket: bucket.name, key: 'k' };
      await expect(
        withKey(store, key).createMultipartUpload({ ...at, encryption: sseC(key), checksum: true }, signal),
      ).rejects.toMatchObject({ code: 'EncryptionNotApplied' });
      expect(await store.listMultipartUploads({ bucket: bucket.name, prefix: '' }, signal)).toEqual([]);
      const put = { ...at, body: Buffer.from('x'), encryption: sseC(key) };
      await expect(withKey(provingEncryption(store), key).putObject(put, signal)).rejects.toMatchObject({
        code: 'EncryptionNotApplied',
      });
      expect(await store.listMultipartUploads({ bucket: bucket.name, prefix: '' }, signal)).toEqual([]);
      expect(await store.headObject(at, signal)).toBeUndefined();
      store.close();
    },
  );
});

describe('a server that others can listen to', () => {
  it('is sent no key, neither of the object nor of its source', async () => {
    const config = { region: 'us-east-1', maxConnections: 1, connectTimeoutMs: 100, socketTimeoutMs: 100 };
    const store = createObjectStore({
      ...config,
      endpoint: 'http://192.0.2.1:9000',
      accessKeyId: 'a',
      secretAccessKey: 'b',
    });
    const customerKey = newKey();
    const at = { bucket: 'bucket', key: 'k' };
    const insecure = { code: 'InsecureTransport' };
    await expect(store.headObject({ ...at, customerKey }, signal)).rejects.toMatchObject(insecure);
    await expect(
      store.copyObject({ ...at, source: { ...at, ifMatch: '"e"', customerKey } }, signal),
    ).rejects.toMatchObject(insecure);
    store.close();
    const calls: string[] = [];
    const plain = { headObject: () => Promise.resolve(void calls.push('head')) } as unknown as ObjectStore;
    await guardingKeys(plain, true).headObject({ ...at, customerKey }, signal);
    expect(calls).toEqual(['head']);
  });
});

async function bytesOf(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
