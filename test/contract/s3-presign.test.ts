/** What servers make of requests that we signed and others send. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { customerKey } from '../../src/infra/keys/customer-key.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { createPresigner } from '../../src/infra/s3/presign.js';
import { testBucket } from '../helpers/buckets.js';
import { startMinioTls, type TlsServer } from '../helpers/minio-tls.js';
import { s3Servers } from '../helpers/s3-servers.js';
import { isSkipped } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

const servers = await s3Servers();
const KEY = 'a b/ü+(1)?.txt';

describe.each(servers.filter(({ skipped }) => !skipped))('on $name', ({ name, config }) => {
  const presigner = createPresigner(config);
  const attributes = { contentType: 'text/plain', metadata: { 'Longshore-Nonce': 'n-1' } };

  test('a form puts one object of its key, its type and its length', async () => {
    const bucket = await testBucket(name);
    const signed = await presigner.form({ bucket: bucket.name, key: KEY, ...attributes, length: 5 });
    const send = async (text: string, change: Record<string, string> = {}): Promise<Response> => {
      const form = new FormData();
      for (const [field, value] of Object.entries({ ...signed.fields, ...change })) form.set(field, value);
      form.set('file', new Blob([text]));
      return await fetch(signed.url, { method: 'POST', body: form });
    };
    for (const refused of [
      await send('too long'),
      await send('hello', { key: 'another' }),
      await send('hello', { 'content-type': 'text/html' }),
    ]) {
      expect(refused.status).toBeGreaterThanOrEqual(400);
      expect(refused.status).toBeLessThan(500);
    }
    expect((await send('hello')).status).toBe(201);
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: KEY }));
    expect(head).toMatchObject({
      ...{ ContentLength: 5, ContentType: 'text/plain', Metadata: { 'longshore-nonce': 'n-1' } },
    });
  });

  test('a PUT carries what it was signed with', async () => {
    const bucket = await testBucket(name);
    const { url, headers } = await presigner.put({ bucket: bucket.name, key: KEY, ...attributes });
    const send = (more: Record<string, string>) =>
      fetch(url, { method: 'PUT', body: 'hello', headers: { ...headers, ...more } });
    expect((await send({ 'x-amz-meta-longshore-nonce': 'n-2' })).status).toBe(403);
    expect((await send({})).status).toBe(200);
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: KEY }));
    expect(head).toMatchObject({ ContentType: 'text/plain', Metadata: { 'longshore-nonce': 'n-1' } });
  });

  test('it ends with its time', async () => {
    const bucket = await testBucket(name);
    const { url, headers } = await presigner.put({ bucket: bucket.name, key: KEY, lifetimeMs: 1000 });
    const status = async (): Promise<number> =>
      (await fetch(url, { method: 'PUT', body: 'hello', headers })).status;
    await eventually(async () => (await status()) === 403, { what: 'its end', interval: 200 });
  });
});

describe.skipIf(isSkipped('minio'))('a part with a customer’s key', () => {
  let tls: TlsServer;
  let ca: Buffer;
  beforeAll(async () => {
    tls = await startMinioTls();
    ca = await readFile(tls.caFile);
  });
  afterAll(() => tls.close());

  async function put(url: string, headers: Record<string, string>, body: Buffer): Promise<IncomingMessage> {
    const sent = request(url, { method: 'PUT', ca, headers: { 'content-length': body.length, ...headers } });
    sent.end(body);
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    answer.resume();
    return answer;
  }

  test('is taken with that key alone, which the address does not tell', async () => {
    const { name: bucket } = await tls.bucket();
    const store = createObjectStore(tls.config);
    const signal = AbortSignal.timeout(30_000);
    const key = customerKey(randomBytes(32));
    const ref = { bucket, key: KEY, customerKey: key };
    const encryption = { type: 'SSE_C', keyRef: 'r', keyMd5: key.md5 } as const;
    const { s3UploadId } = await store.createMultipartUpload({ ...ref, encryption, checksum: false }, signal);
    const signed = await createPresigner(tls.config).part({ ...ref, s3UploadId, partNumber: 1 });
    expect(JSON.stringify(signed)).not.toContain(key.key.toString('base64'));
    const body = randomBytes(1000);
    const secret = (bytes: Buffer) => ({ [signed.secretHeaders[0] ?? '']: bytes.toString('base64') });
    expect((await put(signed.url, signed.headers, body)).statusCode).toBeGreaterThanOrEqual(400);
    const other = { ...signed.headers, ...secret(randomBytes(32)) };
    expect((await put(signed.url, other, body)).statusCode).toBe(403);
    const answer = await put(signed.url, { ...signed.headers, ...secret(key.key) }, body);
    expect(answer.statusCode).toBe(200);
    const parts = [{ partNumber: 1, etag: answer.headers.etag ?? '' }];
    await store.completeMultipartUpload({ ...ref, s3UploadId, parts, size: body.length }, signal);
    const { Body } = await tls.client.send(
      new GetObjectCommand({
        ...{ Bucket: bucket, Key: KEY, SSECustomerAlgorithm: 'AES256', SSECustomerKeyMD5: key.md5 },
        SSECustomerKey: key.key.toString('base64'),
      }),
    );
    expect(Buffer.from((await Body?.transformToByteArray()) ?? [])).toEqual(body);
    store.close();
  });

  test('is not signed for a way that others read along', async () => {
    const config = { ...tls.config, publicEndpoint: 'http://s3.example.com' };
    const ask = {
      bucket: 'b',
      key: 'k',
      s3UploadId: 'u',
      partNumber: 1,
      customerKey: customerKey(randomBytes(32)),
    };
    await expect(createPresigner(config).part(ask)).rejects.toMatchObject({ code: 'InsecureTransport' });
  });
});
