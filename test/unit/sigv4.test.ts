import { describe, expect, it } from 'vitest';
import { createAddressing, encodeComponent, encodeKey } from '../../src/infra/s3/addressing.js';
import { createQuerySigner, createSigner } from '../../src/infra/s3/sigv4.js';
import type { SignableRequest } from '../../src/infra/s3/sigv4.js';

// Amazon S3 API reference, "Authenticating requests: using the Authorization header", its examples.
const keys = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const day = new Date('2013-05-24T00:00:00.000Z');
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const host = 'examplebucket.s3.amazonaws.com';

const signatureOf = (request: SignableRequest): string | undefined =>
  /Signature=(\w+)$/.exec(createSigner('us-east-1')(request, keys, day)['authorization'] ?? '')?.[1];

describe('signing', () => {
  it('signs as the examples of the reference do', () => {
    const get = {
      method: 'GET',
      path: '/test.txt',
      query: '',
      headers: { host, range: 'bytes=0-9' },
      payloadHash: EMPTY,
    };
    expect(signatureOf(get)).toBe('f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
    const list = {
      method: 'GET',
      path: '/',
      query: 'max-keys=2&prefix=J',
      headers: { host },
      payloadHash: EMPTY,
    };
    expect(signatureOf(list)).toBe('34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7');
    const put = {
      method: 'PUT',
      path: '/test%24file.text',
      query: '',
      headers: { host, date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      payloadHash: '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
    };
    expect(signatureOf(put)).toBe('98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd');
  });

  it('signs in the query as the example of the reference does', () => {
    const request = { method: 'GET', path: '/test.txt', query: {}, headers: { host } };
    const query = createQuerySigner('us-east-1')(request, keys, { now: day, lifetime: 86_400 });
    expect(query).toBe(
      'X-Amz-Algorithm=AWS4-HMAC-SHA256' +
        '&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request' +
        '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host' +
        '&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    );
  });

  it('takes a new key with a new day and with new credentials', () => {
    const sign = createSigner('us-east-1');
    const request = { method: 'GET', path: '/', query: '', headers: { host }, payloadHash: EMPTY };
    const first = sign(request, keys, day);
    const fresh = (now: Date, secret = keys.secretAccessKey) =>
      createSigner('us-east-1')(request, { ...keys, secretAccessKey: secret }, now);
    const tomorrow = new Date('2013-05-25T00:00:00.000Z');
    expect(sign(request, keys, tomorrow)).toEqual(fresh(tomorrow));
    expect(sign(request, { ...keys, secretAccessKey: 'other' }, tomorrow)).toEqual(fresh(tomorrow, 'other'));
    expect(sign(request, keys, day)).toEqual(first);
  });

  it('signs the session token', () => {
    const request = { method: 'GET', path: '/', query: '', headers: { host }, payloadHash: EMPTY };
    const headers = createSigner('us-east-1')(request, { ...keys, sessionToken: 'token' }, day);
    expect(headers['x-amz-security-token']).toBe('token');
    expect(headers['authorization']).toContain(
      'SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,',
    );
  });
});

describe('encoding', () => {
  it('leaves only unreserved characters, and slashes in keys', () => {
    expect(encodeComponent("aZ09-._~ !'()*/+&?#%")).toBe('aZ09-._~%20%21%27%28%29%2A%2F%2B%26%3F%23%25');
    expect(encodeKey('a/../b/./c')).toBe('a/../b/./c');
    expect(encodeKey('//lead\n/é🚢')).toBe('//lead%0A/%C3%A9%F0%9F%9A%A2');
  });

  it('refuses what has no UTF-8 form', () => {
    expect(() => encodeKey('a\ud800b')).toThrow(/well-formed/);
  });
});

describe('addressing', () => {
  const limits = { maxConnections: 1, connectTimeoutMs: 1, socketTimeoutMs: 1 };
  const at = (config: object, bucket: string, key: string) =>
    createAddressing({ region: 'eu-central-1', ...limits, ...config }).of({ bucket, key });

  it('puts the bucket in the host on AWS, unless a certificate would not cover it', () => {
    const host = 'photos.s3.eu-central-1.amazonaws.com';
    expect(at({}, 'photos', '../a')).toEqual({ origin: `https://${host}`, host, path: '/../a' });
    expect(at({}, 'my.photos', 'a').path).toBe('/my.photos/a');
    expect(at({ region: 'cn-north-1' }, 'photos', 'a').host).toBe('photos.s3.cn-north-1.amazonaws.com.cn');
  });

  it('puts it in the path elsewhere, behind the prefix of the endpoint', () => {
    const address = at({ endpoint: 'http://127.0.0.1:7070/s3/' }, 'b', '/a b');
    expect(address).toEqual({
      origin: 'http://127.0.0.1:7070',
      host: '127.0.0.1:7070',
      path: '/s3/b//a%20b',
    });
    expect(at({ endpoint: 'https://s3.example.com', forcePathStyle: false }, 'abc', 'k').host).toBe(
      'abc.s3.example.com',
    );
  });

  it('takes the names of Transfer Acceleration and of dual-stack, on AWS alone', () => {
    expect(at({ accelerate: true }, 'photos', 'a').origin).toBe('https://photos.s3-accelerate.amazonaws.com');
    expect(at({ dualStack: true }, 'photos', 'a').host).toBe(
      'photos.s3.dualstack.eu-central-1.amazonaws.com',
    );
    expect(at({ dualStack: true }, 'my.photos', 'a')).toMatchObject({
      origin: 'https://s3.dualstack.eu-central-1.amazonaws.com',
      path: '/my.photos/a',
    });
    expect(at({ accelerate: true, dualStack: true }, 'photos', 'a').host).toBe(
      'photos.s3-accelerate.dualstack.amazonaws.com',
    );
    const elsewhere = { accelerate: true, dualStack: true, endpoint: 'https://s3.example.com' };
    expect(at(elsewhere, 'photos', 'a').origin).toBe('https://s3.example.com');
  });

  it('has no accelerated address for a bucket that no host name can hold', () => {
    expect(() => at({ accelerate: true }, 'my.photos', 'a')).toThrow(/Transfer Acceleration/);
  });

  it.each([
    ['https://s3.example.com', true],
    ['http://127.0.0.2:9000', true],
    ['http://[::1]:9000', true],
    ['http://localhost', true],
    ['http://127.0.0.1.example.com', false],
    ['http://10.0.0.1:9000', false],
  ])('trusts %s: %s', (endpoint, trusted) => {
    expect(createAddressing({ endpoint, region: 'r', ...limits }).trusted).toBe(trusted);
  });
});
