import { describe, expect, it } from 'vitest';
import { createPresigner } from '../../src/infra/s3/presign.js';
import type { Credentials } from '../../src/infra/s3/credentials.js';
import type { StoreConfig } from '../../src/infra/s3/store.js';

const CONFIG: StoreConfig = {
  endpoint: 'http://127.0.0.1:9000',
  region: 'eu-central-1',
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'a-secret-that-is-not-told',
  ...{ maxConnections: 1, connectTimeoutMs: 1, socketTimeoutMs: 1 },
};
const PART = { bucket: 'photos', key: 'a b', s3UploadId: 'u+1', partNumber: 3 };

const query = (url: string) => new URL(url).searchParams;

describe('a presigned part', () => {
  it('is one part of one upload, for at most 15 minutes', async () => {
    const { url, headers, method } = await createPresigner(CONFIG).part(PART);
    expect({ method, headers }).toEqual({ method: 'PUT', headers: {} });
    expect(url.startsWith('http://127.0.0.1:9000/photos/a%20b?')).toBe(true);
    expect(Object.fromEntries(query(url))).toMatchObject({
      partNumber: '3',
      uploadId: 'u+1',
      'X-Amz-Expires': '900',
      'X-Amz-SignedHeaders': 'host',
    });
    expect(url).not.toContain('a-secret-that-is-not-told');
  });

  it('lives no longer than asked, and than the credentials that signed it', async () => {
    const short = await createPresigner(CONFIG).part({ ...PART, lifetimeMs: 5_000 });
    expect(query(short.url).get('X-Amz-Expires')).toBe('5');
    const long = await createPresigner(CONFIG).part({ ...PART, lifetimeMs: 7 * 86_400_000 });
    expect(query(long.url).get('X-Amz-Expires')).toBe('900');
    const source = (expiration: Date) => () =>
      Promise.resolve<Credentials>({ accessKeyId: 'A', secretAccessKey: 's', sessionToken: 't', expiration });
    const ending = createPresigner(CONFIG, source(new Date(Date.now() + 120_500)));
    const { url } = await ending.part(PART);
    expect(query(url).get('X-Amz-Expires')).toBe('120');
    expect(query(url).get('X-Amz-Security-Token')).toBe('t');
    const ended = createPresigner(CONFIG, source(new Date(Date.now() - 1000)));
    await expect(ended.part(PART)).rejects.toMatchObject({ code: 'ExpiredCredentials' });
  });

  it('holds the body to the length and the checksums that are given', async () => {
    const { url, headers } = await createPresigner(CONFIG).part({
      ...PART,
      ...{ length: 5, crc32: 'NhCmhg==', md5: 'XUFAKrxLKna5cZ2REBfFkg==' },
    });
    expect(headers).toEqual({
      'content-length': '5',
      'content-md5': 'XUFAKrxLKna5cZ2REBfFkg==',
      'x-amz-checksum-crc32': 'NhCmhg==',
    });
    expect(query(url).get('X-Amz-SignedHeaders')).toBe(
      'content-length;content-md5;host;x-amz-checksum-crc32',
    );
  });

  it('names the header of a customer’s key, and tells the key nowhere', async () => {
    const key = Buffer.alloc(32, 7);
    const signed = await createPresigner(CONFIG).part({ ...PART, customerKey: { key, md5: 'md5-of-it' } });
    expect(signed.secretHeaders).toEqual(['x-amz-server-side-encryption-customer-key']);
    expect(query(signed.url).get('X-Amz-SignedHeaders')).toContain(signed.secretHeaders[0]);
    const told = JSON.stringify(signed);
    for (const form of [key.toString('base64'), encodeURIComponent(key.toString('base64'))]) {
      expect(told).not.toContain(form);
    }
  });

  it('goes where browsers reach the server', async () => {
    const config = { ...CONFIG, publicEndpoint: 'https://s3.example.com' };
    const { url } = await createPresigner(config).part(PART);
    expect(new URL(url).origin).toBe('https://s3.example.com');
    expect(createPresigner(config).location(PART)).toBe('https://s3.example.com/photos/a%20b');
    const { endpoint: _, ...aws } = CONFIG;
    const fast = await createPresigner({ ...aws, accelerate: true }).part(PART);
    expect(new URL(fast.url).host).toBe('photos.s3-accelerate.amazonaws.com');
  });

  it('is not made for buckets with sessions of their own', async () => {
    const ask = { ...PART, bucket: 'fast--usw2-az1--x-s3' };
    await expect(createPresigner(CONFIG).part(ask)).rejects.toMatchObject({ code: 'NotSupported' });
  });
});

describe('a presigned form', () => {
  const ask = { bucket: 'photos', key: 'k', contentType: 'image/png', metadata: { Name: 'x' } };

  it('holds every field to its value, and the file to its length', async () => {
    const { url, fields } = await createPresigner(CONFIG).form({ ...ask, length: 12 });
    expect(url).toBe('http://127.0.0.1:9000/photos/');
    expect(fields).toMatchObject({ key: 'k', 'content-type': 'image/png', 'x-amz-meta-name': 'x' });
    const { conditions, expiration } = JSON.parse(
      Buffer.from(fields['policy'] ?? '', 'base64').toString(),
    ) as { conditions: unknown[]; expiration: string };
    expect(conditions).toContainEqual({ bucket: 'photos' });
    expect(conditions).toContainEqual(['content-length-range', 12, 12]);
    const { policy: _, 'x-amz-signature': __, ...rest } = fields;
    for (const [name, value] of Object.entries(rest)) expect(conditions).toContainEqual({ [name]: value });
    expect(Date.parse(expiration) - Date.now()).toBeLessThanOrEqual(15 * 60_000);
  });

  it('has no place for tags and keys of customers', async () => {
    const presigner = createPresigner(CONFIG);
    const keyed = { type: 'SSE_C', keyRef: 'r', keyMd5: 'm' } as const;
    for (const more of [{ tags: { a: 'b' } }, { encryption: keyed }]) {
      await expect(presigner.form({ ...ask, ...more })).rejects.toMatchObject({ code: 'NotSupported' });
    }
  });
});
