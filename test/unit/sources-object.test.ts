/** Failures that no server can be made to show at will; the rest is test/integration/sources-object.test.ts. */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { LongshoreError, type ErrorCode } from '../../src/core/errors.js';
import type { PinnedSource } from '../../src/core/upload-steps.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';
import { createObjectSource } from '../../src/infra/sources/object-source.js';

const never = new AbortController().signal;
const pinned: PinnedSource & { kind: 'object' } = {
  kind: 'object',
  bucket: 'b',
  key: 'k',
  size: 10,
  etag: '"e"',
  crc32: null,
  serverSide: true,
};

function sourceOn(calls: Partial<ObjectStore>): ReturnType<typeof createObjectSource> {
  return createObjectSource({ stores: () => calls as ObjectStore });
}

const failing = (code: ErrorCode) => () =>
  Promise.reject(new LongshoreError(code, 'said so', { op: 'HeadObject' }));

describe('what a store says, as said of a source', () => {
  it.each([
    ['NoSuchBucket', 'SourceNotFound', 'SourceChanged'],
    ['AccessDenied', 'SourceDenied', 'SourceDenied'],
    ['PreconditionFailed', 'SourceChanged', 'SourceChanged'],
    ['ExpiredCredentials', 'ExpiredCredentials', 'ExpiredCredentials'],
    ['SlowDown', 'SlowDown', 'SlowDown'],
  ] as const)('%s is %s at first and %s later', async (code, first, later) => {
    const source = sourceOn({ headObject: failing(code), getObject: failing(code) });
    await expect(source.inspect({ kind: 'object', bucket: 'b', key: 'k' }, never)).rejects.toMatchObject({
      code: first,
    });
    const opened = await source.open(pinned, never);
    await expect(opened.check(never)).rejects.toMatchObject({ code: later });
    await expect(opened.read(0, Buffer.alloc(4), never)).rejects.toMatchObject({ code: later });
  });

  it('an unknown store rejects rather than throws', async () => {
    const source = createObjectSource({
      stores: (name) => {
        throw new LongshoreError('InvalidConfig', `no store ${String(name)}`, { op: 'stores' });
      },
    });
    await expect(source.open({ ...pinned, store: 'x' }, never)).rejects.toMatchObject({
      code: 'InvalidConfig',
    });
    await expect(source.inspect({ ...pinned, store: 'x' }, never)).rejects.toMatchObject({
      code: 'InvalidConfig',
    });
  });
});

describe('an answer of the wrong length', () => {
  it.each([
    ['abc', 'SourceUnavailable'],
    ['abcde', 'SourceChanged'],
  ])('%s for four bytes is %s', async (text, code) => {
    const opened = await sourceOn({
      getObject: () => Promise.resolve(Readable.from([Buffer.from(text)])),
    }).open(pinned, never);
    await expect(opened.read(0, Buffer.alloc(4), never)).rejects.toMatchObject({ code });
    const stream = await opened.stream(0, 4, never);
    await expect(stream.toArray()).rejects.toMatchObject({ code });
  });
});

it('a dropped stream ends the answer behind it', async () => {
  const body = new Readable({ read: () => undefined });
  const opened = await sourceOn({ getObject: () => Promise.resolve(body) }).open(pinned, never);
  (await opened.stream(0, 4, never)).destroy();
  await expect.poll(() => body.destroyed).toBe(true);
});
