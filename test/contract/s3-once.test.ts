/** Bodies that come only once, against each store on both servers: passed on as they come, or held where they cannot be. */
import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once as nextEvent } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KiB, MiB } from '../../src/core/limits.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { framed, framedLength } from '../../src/infra/s3/once.js';
import { createSdkStore } from '../../src/infra/s3/sdk-store.js';
import type { ObjectStore, OnceBody, StoreConfig } from '../../src/infra/s3/store.js';
import { faults, startFaultProxy } from '../helpers/fault-proxy.js';
import { startNullSink } from '../helpers/null-sink.js';
import { s3Servers } from '../helpers/s3-servers.js';

const KINDS = {
  sdk: (config: StoreConfig): ObjectStore => createSdkStore(config),
  production: (config: StoreConfig): ObjectStore => createObjectStore(config),
};

const live = (): AbortSignal => new AbortController().signal;

function crcOf(...chunks: Uint8Array[]): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(chunks.reduce((crc, chunk) => crc32(chunk, crc), 0));
  return bytes.toString('base64');
}

/** In pieces of a size that fits no frame. */
function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 60_007) yield bytes.subarray(at, at + 60_007);
}

function once(bytes: Buffer, change: Partial<OnceBody> = {}): OnceBody {
  return { length: bytes.length, once: Readable.from(piecesOf(bytes), { objectMode: false }), ...change };
}

async function bytesOf(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const SIZES = [0, 1, MiB - 1, MiB, MiB + 1, 5 * MiB + 3];

for (const { name, skipped, config } of await s3Servers()) {
  for (const [kind, create] of Object.entries(KINDS)) {
    describe.skipIf(skipped)(`bodies that come once: ${kind} store on ${name}`, () =>
      contract(config, create),
    );
  }
}

function contract(config: StoreConfig, create: (config: StoreConfig) => ObjectStore): void {
  const bucket = `once-${randomUUID()}`;
  let store: ObjectStore;
  const at = (key: string = randomUUID()) => ({ bucket, key });
  const begin = async () => {
    const ref = at();
    return { ...ref, ...(await store.createMultipartUpload({ ...ref, checksum: true }, live())) };
  };

  beforeAll(async () => {
    store = create(config);
    await store.createBucket(bucket, live());
  });
  afterAll(() => store.close());

  it.each(SIZES)('puts %i bytes, and tells their CRC32', async (size) => {
    const bytes = randomBytes(size);
    const ref = at();
    let settled = '';
    const answer = await store.putObject(
      { ...ref, body: once(bytes, { settle: (crc) => void (settled = crc) }) },
      live(),
    );
    expect(settled).toBe(crcOf(bytes));
    expect(answer.checksumAccepted).toBe(true);
    expect(await store.headObject(ref, live())).toMatchObject({
      size,
      etag: answer.etag,
      crc32: crcOf(bytes),
    });
    expect((await bytesOf(await store.getObject(ref, live()))).equals(bytes)).toBe(true);
  });

  it('makes parts of them that are completed with their checksums', async () => {
    const bodies = [randomBytes(5 * MiB), randomBytes(5 * MiB + 1), randomBytes(70_000)];
    const upload = await begin();
    const parts = [];
    for (const [index, bytes] of bodies.entries()) {
      const seen: Buffer[] = [];
      const body = once(bytes, { watch: (piece) => seen.push(Buffer.from(piece)) });
      const { etag, crc32 } = await store.uploadPart({ ...upload, partNumber: index + 1, body }, live());
      expect(Buffer.concat(seen).equals(bytes)).toBe(true);
      expect(crc32).toBe(crcOf(bytes));
      parts.push({ partNumber: index + 1, etag, crc32: crcOf(bytes) });
    }
    const size = bodies.reduce((sum, bytes) => sum + bytes.length, 0);
    await store.completeMultipartUpload({ ...upload, parts, size, crc32: crcOf(...bodies) }, live());
    expect((await bytesOf(await store.getObject(upload, live()))).equals(Buffer.concat(bodies))).toBe(true);
  });

  it.each([0, 1, 5 * MiB + 3])(
    'sends %i bytes without a checksum where there is to be none',
    async (size) => {
      const bytes = randomBytes(size);
      const ref = at();
      const upload = { ...ref, ...(await store.createMultipartUpload({ ...ref, checksum: false }, live())) };
      let settled = '';
      const body = once(bytes, { plain: true, settle: (crc) => void (settled = crc) });
      const { etag } = await store.uploadPart({ ...upload, partNumber: 1, body }, live());
      expect(settled).toBe(crcOf(bytes));
      const spoiled = once(bytes, {
        plain: true,
        settle: () => {
          throw new RangeError('not these');
        },
      });
      if (size > 0)
        await expect(store.uploadPart({ ...upload, partNumber: 1, body: spoiled }, live())).rejects.toThrow(
          'not these',
        );
      await store.completeMultipartUpload({ ...upload, parts: [{ partNumber: 1, etag }], size }, live());
      expect((await bytesOf(await store.getObject(ref, live()))).equals(bytes)).toBe(true);
    },
  );

  it.each([
    ['ends too soon', (bytes: Buffer) => once(bytes.subarray(1), { length: bytes.length }), 'ChunkDamaged'],
    ['is too long', (bytes: Buffer) => once(bytes, { length: bytes.length - 1 }), 'ChunkDamaged'],
    [
      'is refused at its end',
      (bytes: Buffer) =>
        once(bytes, {
          settle: () => {
            throw new RangeError('not these');
          },
        }),
      undefined,
    ],
    [
      'breaks off',
      (bytes: Buffer) => {
        const stream = new PassThrough();
        stream.write(bytes.subarray(0, 100));
        setTimeout(() => stream.destroy(new Error('gone')), 50);
        return once(bytes, { once: stream });
      },
      'ChunkDamaged',
    ],
  ])('keeps no part whose body %s, and the one before it', async (_what, spoil, code) => {
    const upload = await begin();
    const good = randomBytes(5 * MiB);
    const { etag } = await store.uploadPart({ ...upload, partNumber: 1, body: once(good) }, live());
    const spoilt = async (promised: (bytes: Buffer) => Partial<OnceBody>): Promise<void> => {
      const bytes = randomBytes(6 * MiB);
      const body = { ...spoil(bytes), ...promised(bytes) };
      const sent = store.uploadPart({ ...upload, partNumber: 1, body }, live());
      if (code === undefined) await expect(sent).rejects.toThrow('not these');
      else await expect(sent).rejects.toMatchObject({ code });
    };
    await spoilt(() => ({}));
    await spoilt((bytes) => ({ promised: crcOf(bytes) }));
    expect(await store.listParts(upload, live())).toMatchObject([{ partNumber: 1, etag, size: good.length }]);
    await store.abortMultipartUpload(upload, live());
  });

  it('keeps no part whose CRC32 is not what was promised, and one whose it is', async () => {
    const upload = await begin();
    const part = async (partNumber: number, bytes: Buffer, promised: string) =>
      await store.uploadPart({ ...upload, partNumber, body: once(bytes, { promised }) }, live());
    const [first, second] = [randomBytes(5 * MiB), randomBytes(5 * MiB)];
    // A server shows by the first that it checks.
    await part(1, first, crcOf(first));
    expect(await part(2, second, crcOf(second))).toMatchObject({ crc32: crcOf(second) });
    // A store that holds bodies sends the CRC32 that they have.
    if (create === KINDS.production) {
      await expect(part(3, randomBytes(5 * MiB), crcOf(first))).rejects.toMatchObject({
        code: 'BadDigest',
      });
    }
    expect(await store.listParts(upload, live())).toMatchObject([{ partNumber: 1 }, { partNumber: 2 }]);
    await store.abortMultipartUpload(upload, live());
  });

  it('stops at an abort, and leaves the stream to its owner', async () => {
    const upload = await begin();
    const stream = new PassThrough();
    stream.write(Buffer.alloc(100));
    const stop = new AbortController();
    const sent = store.uploadPart(
      { ...upload, partNumber: 1, body: { length: 5 * MiB, once: stream } },
      stop.signal,
    );
    setTimeout(() => stop.abort(new RangeError('enough')), 50);
    await expect(sent).rejects.toThrow('enough');
    expect(stream.destroyed).toBe(false);
    expect(await store.listParts(upload, live())).toEqual([]);
    await store.abortMultipartUpload(upload, live());
  });

  it('says that the multipart upload is gone', async () => {
    const upload = await begin();
    await store.abortMultipartUpload(upload, live());
    const sent = store.uploadPart({ ...upload, partNumber: 1, body: once(randomBytes(5 * MiB)) }, live());
    await expect(sent).rejects.toMatchObject({ code: 'NoSuchUpload' });
  });
}

describe('the frames', () => {
  it.each([...SIZES, 16, 255, 2 * MiB, 100 * KiB])(
    'of %i bytes have the length that was announced',
    async (size) => {
      const bytes = randomBytes(size);
      const sent = await bytesOf(framed(once(bytes)));
      expect(sent.length).toBe(framedLength(size));
      expect(sent.toString('latin1')).toMatch(
        /(^|\r\n)0\r\nx-amz-checksum-crc32:[A-Za-z0-9+/]{6}==\r\n\r\n$/,
      );
    },
  );
});

const config = (endpoint: string): StoreConfig => ({
  ...{ endpoint, region: 'us-east-1', accessKeyId: 'a', secretAccessKey: 'b' },
  ...{ maxConnections: 4, connectTimeoutMs: 2000, socketTimeoutMs: 5000 },
});

describe('a part without a checksum', () => {
  it.each([
    ['sdk', 100_000],
    ['production', 100_000],
    ['production', 64 * MiB + 1],
  ] as const)('says nothing of one: %s store, %i bytes', async (kind, size) => {
    const said: string[] = [];
    const sink = createServer((request, response) => {
      said.push(...Object.keys(request.headers), String(request.headers['content-length']));
      request.resume().on('end', () => response.setHeader('etag', '"e"').end());
    });
    await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
    const store = KINDS[kind](config(`http://127.0.0.1:${(sink.address() as AddressInfo).port}`));
    try {
      const bytes = randomBytes(size);
      const body = once(bytes, { plain: true });
      const upload = { bucket: 'plain', key: 'part', s3UploadId: 'u' };
      await store.uploadPart({ ...upload, partNumber: 1, body }, live());
      expect(said).toContain(String(bytes.length));
      expect(said.filter((name) => /checksum|trailer|content-encoding/.test(name))).toEqual([]);
    } finally {
      store.close();
      await new Promise((resolve) => sink.close(resolve));
    }
  });
});

/** A server that knows no aws-chunks: it keeps whatever comes. */
async function startFrameKeeper() {
  /** What was ever put at a key, and what parts hold. */
  const [puts, parts] = [[] as Buffer[], new Map<string, number>()];
  const server = createServer((request, response) => {
    void bytesOf(request).then((bytes) => {
      const url = new URL(request.url ?? '/', 'http://localhost');
      const part = url.searchParams.get('partNumber');
      if (part !== null) parts.set(part, bytes.length);
      else if (request.method === 'PUT') puts.push(bytes);
      const list = [...parts].map(
        ([number, size]) =>
          `<Part><PartNumber>${number}</PartNumber><ETag>"e"</ETag><Size>${size}</Size></Part>`,
      );
      const body =
        request.method === 'POST'
          ? '<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>'
          : request.method === 'GET'
            ? `<ListPartsResult>${list.join('')}<IsTruncated>false</IsTruncated></ListPartsResult>`
            : '';
      response.writeHead(request.method === 'DELETE' ? 204 : 200, { etag: '"e"' });
      response.end(body);
    });
  });
  server.listen(0, '127.0.0.1');
  await nextEvent(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { endpoint, puts, parts, close };
}

describe('a server without trailers', () => {
  it('gets whole bodies after it refused the first, and a part that tries it', async () => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const store = createObjectStore(config(proxy.endpoint));
    try {
      proxy.fault({ op: 'UploadPart', times: 2 }, faults.status(501, 'NotImplemented'));
      const ref = { bucket: 'trailers', key: 'part' };
      const upload = { ...ref, ...(await store.createMultipartUpload({ ...ref, checksum: true }, live())) };
      const bytes = randomBytes(MiB);
      const send = () => store.uploadPart({ ...upload, partNumber: 1, body: once(bytes) }, live());
      await expect(send()).rejects.toMatchObject({ code: 'S3Unavailable', retry: 'retry' });
      await send();
      const [kept] = [...(sink.uploads.get(upload.s3UploadId)?.parts.values() ?? [])];
      expect(kept).toMatchObject({ size: bytes.length, crc32: crcOf(bytes) });
      const tooLarge = { length: 65 * MiB, once: new PassThrough() };
      await expect(
        store.uploadPart({ ...upload, partNumber: 2, body: tooLarge }, live()),
      ).rejects.toMatchObject({
        code: 'NotSupported',
      });
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });

  it('gets no object in frames, not even the first', async () => {
    const keeper = await startFrameKeeper();
    const store = createObjectStore(config(keeper.endpoint));
    try {
      const objects = [1000, 2 * MiB + 1, 3 * MiB].map((size) => randomBytes(size));
      for (const bytes of objects)
        await store.putObject({ bucket: 'trailers', key: 'object', body: once(bytes) }, live());
      expect(keeper.puts.map((put, at) => put.equals(objects[at] as Buffer))).toEqual([true, true, true]);
    } finally {
      store.close();
      await keeper.close();
    }
  });

  it.each([
    ['once', 501, 'NotImplemented'],
    ['once and was away then', 503, 'ServiceUnavailable'],
  ])('is not what one is that refused %s', async (_what, status, code) => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const store = createObjectStore(config(proxy.endpoint));
    try {
      proxy.fault({ op: 'UploadPart', times: 1 }, faults.status(501, 'NotImplemented'));
      if (status === 503) proxy.fault({ op: 'UploadPart', times: 1 }, faults.status(status, code));
      const ref = { bucket: 'trailers', key: 'part' };
      const upload = { ...ref, ...(await store.createMultipartUpload({ ...ref, checksum: true }, live())) };
      const send = (partNumber: number, bytes: Buffer) =>
        store.uploadPart({ ...upload, partNumber, body: once(bytes) }, live());
      await expect(send(1, randomBytes(MiB))).rejects.toMatchObject({ code: 'S3Unavailable' });
      if (status === 503) await expect(send(1, randomBytes(MiB))).rejects.toMatchObject({ code: 'SlowDown' });
      await send(1, randomBytes(MiB));
      await send(2, Buffer.alloc(65 * MiB));
      expect(proxy.log.at(-1)?.bytes).toBe(framedLength(65 * MiB));
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });

  it('is not what one is that refused for another reason', async () => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const store = createObjectStore(config(proxy.endpoint));
    try {
      proxy.fault({ op: 'UploadPart', times: 3 }, faults.status(301, 'PermanentRedirect'));
      const ref = { bucket: 'trailers', key: 'part' };
      const upload = { ...ref, ...(await store.createMultipartUpload({ ...ref, checksum: true }, live())) };
      const bytes = randomBytes(MiB);
      const send = () => store.uploadPart({ ...upload, partNumber: 1, body: once(bytes) }, live());
      await expect(send()).rejects.toMatchObject({ code: 'S3Unavailable' });
      await expect(send()).rejects.toMatchObject({ code: 'InvalidRequest' });
      await send();
      expect(proxy.log.map(({ op, bytes: sent }) => [op, sent]).slice(1)).toEqual([
        ['UploadPart', framedLength(MiB)],
        ['CreateMultipartUpload', 0],
        ['UploadPart', framedLength(1)],
        ['UploadPart', 1],
        ['AbortMultipartUpload', 0],
        ['UploadPart', framedLength(MiB)],
      ]);
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });

  it('is found out before a large object goes, by a part that is aborted', async () => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const store = createObjectStore(config(proxy.endpoint));
    try {
      const put = (size: number) =>
        store.putObject({ bucket: 'trailers', key: 'object', body: once(randomBytes(size)) }, live());
      await put(MiB);
      await put(2 * MiB);
      await put(MiB);
      expect(proxy.log.map(({ op, bytes: sent }) => [op, sent])).toEqual([
        ['PutObject', MiB],
        ['CreateMultipartUpload', 0],
        ['UploadPart', framedLength(1)],
        ['AbortMultipartUpload', 0],
        ['PutObject', framedLength(2 * MiB)],
        ['PutObject', framedLength(MiB)],
      ]);
      expect(sink.uploads.size).toBe(0);
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });

  it('is found out all the same where that part cannot be aborted, which is told', async () => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const told: unknown[] = [];
    const log = { warn: (...said: unknown[]) => void told.push(said) };
    const store = createObjectStore(config(proxy.endpoint), { log });
    try {
      proxy.fault({ op: 'AbortMultipartUpload' }, faults.status(403, 'AccessDenied'));
      const ref = { bucket: 'trailers', key: 'object' };
      await store.putObject({ ...ref, body: once(randomBytes(2 * MiB)) }, live());
      expect(proxy.log.map(({ op }) => op)).toEqual([
        'CreateMultipartUpload',
        'UploadPart',
        'AbortMultipartUpload',
        'PutObject',
      ]);
      expect(told).toMatchObject([[{ err: { code: 'AccessDenied' }, ...ref }, expect.any(String)]]);
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });

  it('is not needed for what can be held: a trial that is denied fails no object', async () => {
    const sink = await startNullSink();
    const proxy = await startFaultProxy(sink.endpoint);
    const store = createObjectStore(config(proxy.endpoint));
    try {
      proxy.fault({ op: 'CreateMultipartUpload' }, faults.status(403, 'AccessDenied'));
      const put = { bucket: 'trailers', key: 'object', body: once(randomBytes(2 * MiB)) };
      expect(await store.putObject(put, live())).toMatchObject({ checksumAccepted: true });
      expect(proxy.log.map(({ op }) => op)).toEqual(['CreateMultipartUpload', 'PutObject']);
    } finally {
      store.close();
      await proxy.close();
      await sink.close();
    }
  });
});
