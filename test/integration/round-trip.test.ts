/** What goes in comes out: sizes, names, options and sources, through real parts. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetObjectTaggingCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';

const PART = 5 * MiB;
let rig: Rig;

beforeAll(async () => {
  rig = await startRig({ env: { LONGSHORE_THRESHOLD: '5MiB', LONGSHORE_URL_ALLOW: '127.0.0.1' } });
});
afterAll(() => rig.close());

describe('an object of', () => {
  it.each([0, 1, PART - 1, PART, PART + 1, 3 * PART - 1, 3 * PART, 3 * PART + 1])(
    '%i bytes',
    async (size) => {
      const bucket = await rig.bucket();
      const file = await rig.file(size);
      const { id } = await rig.start(file, bucket, { options: { partSize: PART, demand: 'full' } });
      const result = await rig.client.result(id);
      expect(result).toMatchObject({ size, bytesSent: size, verification: 'full', generations: 1 });
      expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
      expect(await rig.row(id)).toMatchObject({
        state: 'COMPLETED',
        size,
        checksum: result.checksum,
        etag: result.etag,
      });
    },
  );
});

describe('a key', () => {
  const keys = [
    'with spaces and +&?#%25=',
    'emoji \u{1F680} in the middle',
    'composed \u00e9 and decomposed e\u0301',
    'line\nbreak and tab\t',
    // 1,024 bytes, in segments that a file system takes too
    `${`${'ü'.repeat(100)}/`.repeat(5)}${'k'.repeat(19)}`,
  ];

  it.each(keys.flatMap((key) => [[key, 10] as const, [key, PART + 1] as const]))(
    '%j, of %i bytes',
    async (key, size) => {
      const bucket = await rig.bucket();
      const file = await rig.file(size);
      const { id } = await rig.start(file, bucket, { destination: { bucket: bucket.name, key } });
      await rig.client.result(id);
      expect(await keysIn(bucket)).toEqual([key]);
      expect(await objectSha256(bucket, key)).toBe(file.sha256);
    },
  );

  it('of 1,025 bytes is refused before any work', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(1);
    const destination = { bucket: bucket.name, key: `${'ü'.repeat(512)}k` };
    const calls = rig.proxy.log.length;
    await expect(rig.start(file, bucket, { destination })).rejects.toMatchObject({ code: 'KeyTooLong' });
    expect(rig.proxy.log.length).toBe(calls);
  });
});

describe('options', () => {
  it.each([10, PART + 1])('are on the object of %i bytes', async (size) => {
    const bucket = await rig.bucket();
    const file = await rig.file(size, `options-${size}.json`);
    const options = {
      cacheControl: 'max-age=60',
      metadata: { colour: 'blue' },
      tags: { team: 'a b' },
      storageClass: 'STANDARD',
    };
    const { id, workflowId } = await rig.start(file, bucket, { options });
    await rig.client.result(id);
    const where = { Bucket: bucket.name, Key: file.name };
    const head = await bucket.client.send(new HeadObjectCommand(where));
    expect(head).toMatchObject({ ContentType: 'application/json', CacheControl: 'max-age=60' });
    expect(head.Metadata).toMatchObject({ colour: 'blue', 'longshore-upload-id': workflowId });
    expect((await bucket.client.send(new GetObjectTaggingCommand(where))).TagSet).toEqual([
      { Key: 'team', Value: 'a b' },
    ]);
  });

  it('without checksums, the object is verified by size, and a higher level demanded fails', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(PART + 1);
    const { id } = await rig.start(file, bucket, { options: { checksum: false } });
    const result = await rig.client.result(id);
    expect(result.verification).toBe('size');
    expect(result.checksum).toBeUndefined();
    const strict = await rig.start(file, bucket, { options: { checksum: false, demand: 'server' } });
    expect(await failureOf(rig.client, strict.id)).toMatchObject({ code: 'VerificationTooWeak' });
  });

  it('an expected size that is not the source’s fails before anything is sent', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(10);
    const { id } = await rig.start(file, bucket, { options: { expectedSize: 11 } });
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SizeMismatch' });
    expect(rig.proxy.calls(undefined, { bucket: bucket.name })).toBe(0);
  });
});

describe('a failure that no retry can mend is typed, says what to do, and comes soon', () => {
  it('a missing file', async () => {
    const bucket = await rig.bucket();
    const { id } = await rig.start({ name: 'not-there' }, bucket);
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'SourceNotFound',
      hint: expect.stringMatching(/exists/) as unknown,
    });
  });

  it('a link out of the root, and a path out of it', async () => {
    const bucket = await rig.bucket();
    await symlink('/etc/passwd', join(rig.folder, 'link-out'));
    for (const name of ['link-out', '../etc/passwd']) {
      const { id } = await rig.start({ name }, bucket, { destination: { bucket: bucket.name, key: 'k' } });
      expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceOutsideRoot' });
    }
  });

  it('a folder', async () => {
    const bucket = await rig.bucket();
    await mkdir(join(rig.folder, 'a-folder'));
    const { id } = await rig.start({ name: 'a-folder' }, bucket);
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceInvalid' });
  });

  it.runIf(process.getuid?.() !== 0)('a denied file', async () => {
    const bucket = await rig.bucket();
    const path = join(rig.folder, 'denied');
    await writeFile(path, 'secret');
    await chmod(path, 0o000);
    const { id } = await rig.start({ name: 'denied' }, bucket);
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceDenied' });
  });

  it.each([10, PART + 1])('a missing bucket, for %i bytes', async (size) => {
    const bucket = await rig.bucket();
    const file = await rig.file(size);
    const destination = { bucket: 't-is-not-there', key: 'k' };
    const { id } = await rig.start(file, bucket, { destination });
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'NoSuchBucket',
      hint: expect.stringMatching(/bucket/i) as unknown,
    });
  });

  it.each([10, PART + 1])(
    'encryption that the server ignores, for %i bytes: nothing is at the key',
    async (size) => {
      const bucket = await rig.bucket();
      const file = await rig.file(size);
      const { id } = await rig.start(file, bucket, { options: { encryption: { type: 'SSE_S3' } } });
      expect(await failureOf(rig.client, id)).toMatchObject({ code: 'EncryptionNotApplied' });
      expect(await keysIn(bucket)).toEqual([]);
    },
  );
});

describe('wrong credentials', () => {
  it.each([
    ['key', { AWS_ACCESS_KEY_ID: 'nobody' }],
    ['secret', { AWS_SECRET_ACCESS_KEY: 'wrong' }],
  ])('a wrong %s fails as BadCredentials, and is nowhere to be read', async (_what, env) => {
    const wrong = await startRig({ env });
    try {
      const bucket = await wrong.bucket();
      const file = await wrong.file(10);
      const { id } = await wrong.start(file, bucket);
      const failure = await failureOf(wrong.client, id);
      expect(failure).toMatchObject({ code: 'BadCredentials' });
      expect(JSON.stringify(failure)).not.toContain('wrong');
    } finally {
      await wrong.close();
    }
  });
});

describe('a URL', () => {
  let server: Server;
  let base: string;
  const bytes = Buffer.alloc(3 * PART + 7, 'longshore ');
  const seen: IncomingMessage['headers'][] = [];
  const answers: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
    '/ranges': (request, response) => {
      const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
      const first = range === null ? 0 : Number(range[1]);
      const last =
        range?.[2] === undefined || range[2] === ''
          ? bytes.length - 1
          : Math.min(Number(range[2]), bytes.length - 1);
      response.writeHead(range === null ? 200 : 206, {
        etag: '"v1"',
        'content-type': 'text/x-longshore',
        'content-length': last - first + 1,
        ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
      });
      response.end(bytes.subarray(first, last + 1));
    },
    '/whole': (_request, response) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
    '/unknown-length': (_request, response) => {
      response.writeHead(200);
      for (let at = 0; at < bytes.length; at += MiB) response.write(bytes.subarray(at, at + MiB));
      response.end();
    },
    '/empty-unknown': (_request, response) =>
      response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(),
  };

  beforeAll(async () => {
    server = createServer((request, response) => {
      seen.push(request.headers);
      const answer = answers[request.url?.split('?')[0] ?? ''];
      if (answer === undefined) response.writeHead(404).end();
      else answer(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => rig.proxy.clearFaults());
  afterAll(() => server.close().closeAllConnections());

  const upload = (path: string, bucket: string): ReturnType<Rig['client']['startUpload']> =>
    rig.client.startUpload({
      source: { kind: 'url', url: `${base}${path}` },
      destination: { bucket, key: 'from-url' },
      options: { partSize: PART },
    });

  it.each(['/ranges', '/whole', '/unknown-length'])('%s arrives whole', async (path) => {
    const bucket = await rig.bucket();
    const { id } = await upload(path, bucket.name);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ size: bytes.length, verification: 'full' });
    expect(await objectSha256(bucket, 'from-url')).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  it('of unknown length and without a byte is an empty object', async () => {
    const bucket = await rig.bucket();
    const { id } = await upload('/empty-unknown', bucket.name);
    expect(await rig.client.result(id)).toMatchObject({ size: 0, parts: 1 });
  });

  it('that is missing fails as SourceNotFound', async () => {
    const bucket = await rig.bucket();
    const { id } = await upload('/nothing', bucket.name);
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceNotFound' });
  });
});

describe('an object as source', () => {
  it.each([
    ['small, copied at once', 100],
    ['large, copied in parts', 2 * PART + 3],
  ])('%s, without passing through the worker', async (_what, size) => {
    const bucket = await rig.bucket();
    const body = Buffer.alloc(size, 'some bytes');
    await bucket.client.send(
      new PutObjectCommand({ Bucket: bucket.name, Key: 'a &+ü', Body: body, ContentType: 'a/b' }),
    );
    const { id } = await rig.client.startUpload({
      source: { kind: 'object', bucket: bucket.name, key: 'a &+ü' },
      destination: { bucket: bucket.name, key: 'copy' },
      options: { partSize: PART },
    });
    expect(await rig.client.result(id)).toMatchObject({ size, bytesSent: expect.any(Number) as unknown });
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: 'copy' }));
    expect(head).toMatchObject({ ContentLength: size, ContentType: 'a/b' });
    expect(rig.proxy.calls('GetObject', { bucket: bucket.name })).toBe(0);
  });
});
