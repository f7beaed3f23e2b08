import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ObjectSource } from '../../src/core/uploads.js';
import type { PinnedSource } from '../../src/core/upload-steps.js';
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../../src/core/limits.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { tokenMetadata, type ObjectStore } from '../../src/infra/s3/store.js';
import { createObjectSource } from '../../src/infra/sources/object-source.js';
import { testBucket } from '../helpers/buckets.js';
import { isSkipped, part } from '../helpers/stack.js';

const never = new AbortController().signal;
type PinnedObject = PinnedSource & { kind: 'object' };

describe.skipIf(isSkipped('versitygw'))('object sources on a real server', () => {
  let store: ObjectStore;

  beforeAll(() => {
    store = createObjectStore({
      ...part('versitygw'),
      maxConnections: S3_MAX_CONNECTIONS,
      connectTimeoutMs: S3_CONNECT_TIMEOUT_MS,
      socketTimeoutMs: S3_SOCKET_TIMEOUT_MS,
    });
  });
  afterAll(() => store.close());

  const source = () => createObjectSource({ stores: () => store, sameStore: (name) => name === 'alias' });

  async function stored(bytes: Buffer, key = 'a b+&?#😀/ö'): Promise<ObjectSource> {
    const { name: bucket } = await testBucket();
    await store.putObject({ bucket, key, body: bytes, contentType: 'text/x-test' }, never);
    return { kind: 'object', bucket, key };
  }

  it('are pinned by ETag and size', async () => {
    const object = await stored(randomBytes(1000));
    const head = await store.headObject(object, never);
    expect(await source().inspect(object, never)).toEqual({
      pinned: { ...object, size: 1000, etag: head?.etag, crc32: head?.crc32 ?? null, serverSide: true },
      contentType: 'text/x-test',
      access: 'random',
      attributes: expect.any(Function) as unknown,
    });
  });

  it('carry attributes that a copy may carry too, but for whose they are', async () => {
    const object = await stored(randomBytes(10));
    const carried = { cacheControl: 'no-cache', metadata: { kind: 'report' }, tags: { 'a b': 'c=d' } };
    const metadata = { ...carried.metadata, ...tokenMetadata({ uploadId: 'theirs', nonce: 'n' }) };
    await store.putObject({ ...object, ...carried, metadata, body: Buffer.from('x') }, never);
    const look = await source().inspect(object, never);
    expect(await look.attributes?.(never)).toEqual(carried);
  });

  it('are copied by the server only where it is the same one', async () => {
    const object = await stored(randomBytes(10));
    const serverSide = async (name: string): Promise<boolean> =>
      ((await source().inspect({ ...object, store: name }, never)).pinned as PinnedObject).serverSide;
    expect(await serverSide('alias')).toBe(true);
    expect(await serverSide('elsewhere')).toBe(false);
  });

  it('are read at every offset, several at once', async () => {
    const bytes = randomBytes(300_001);
    const opened = await source().open(
      (await source().inspect(await stored(bytes), never)).pinned as PinnedObject,
      never,
    );
    await opened.check(never);
    const ranges = [
      [0, 1],
      [0, bytes.length],
      [100_000, 50_000],
      [bytes.length - 1, 1],
      [7, 0],
    ] as const;
    await Promise.all(
      ranges.map(async ([offset, length]) => {
        const target = Buffer.alloc(length);
        await opened.read(offset, target, never);
        expect(target.equals(bytes.subarray(offset, offset + length))).toBe(true);
        expect((await collect(await opened.stream(offset, length, never))).equals(target)).toBe(true);
      }),
    );
    expect((await collect(await opened.stream(5, undefined, never))).equals(bytes.subarray(5))).toBe(true);
    await opened.close();
  });

  it('may be empty', async () => {
    const opened = await source().open(
      (await source().inspect(await stored(Buffer.alloc(0)), never)).pinned as PinnedObject,
      never,
    );
    expect(await collect(await opened.stream(0, undefined, never))).toHaveLength(0);
  });

  it.each(['overwritten', 'deleted'])('%s after pinning: no byte is read', async (how) => {
    const object = await stored(randomBytes(1000));
    const pinned = (await source().inspect(object, never)).pinned as PinnedObject;
    const opened = await source().open(pinned, never);
    if (how === 'deleted') await store.deleteObject(object, never);
    else await store.putObject({ ...object, body: randomBytes(1000) }, never);
    const changed: unknown = expect.objectContaining({ code: 'SourceChanged' });
    await expect(opened.check(never)).rejects.toEqual(changed);
    await expect(opened.read(0, Buffer.alloc(10), never)).rejects.toEqual(changed);
    await expect(opened.stream(0, 10, never)).rejects.toEqual(changed);
  });

  it('that are not there are not found', async () => {
    const { bucket } = await stored(randomBytes(1));
    for (const missing of [
      { bucket, key: 'none' },
      { bucket: `${bucket}-none`, key: 'none' },
    ]) {
      const failure = source().inspect({ kind: 'object', ...missing }, never);
      await expect(failure).rejects.toMatchObject({ code: 'SourceNotFound' });
    }
  });

  it('end at the signal, with its reason', async () => {
    const pinned = (await source().inspect(await stored(randomBytes(1000)), never)).pinned as PinnedObject;
    const opened = await source().open(pinned, never);
    const stop = new AbortController();
    stop.abort(new Error('stopped'));
    await expect(opened.read(0, Buffer.alloc(10), stop.signal)).rejects.toThrow('stopped');
    await expect(opened.check(stop.signal)).rejects.toThrow('stopped');
  });
});

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
