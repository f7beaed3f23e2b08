/** How a stream of bytes becomes parts and a tail in the catalog, and who may write. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LongshoreError } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import { UploadWriter } from '../../src/api/tus/writer.js';
import { createBufferPool } from '../../src/infra/buffers.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { claimPart, createPartWriter } from '../../src/infra/catalog/session-parts.js';
import { appendTail, cutTail, readExtent, readTail } from '../../src/infra/catalog/session-tails.js';
import { getSession, openSession, setOpen } from '../../src/infra/catalog/sessions.js';
import {
  addTusUpload,
  declareLength,
  getTusUpload,
  takeWriter,
} from '../../src/infra/catalog/tus-uploads.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { someBytes } from '../helpers/tus.js';

const PART = 3 * MiB;

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  await open(1);
  await addTusUpload(db.pool, { session: 's', metadata: null, length: null, concat: null });
});
afterEach(() => db.drop());

/** The multipart upload of this number. */
async function open(runGeneration: number): Promise<void> {
  await openSession(db.pool, {
    id: 's',
    source: { kind: 'client', name: 's', nodeId: 's', mode: 'chunks', ttlMs: 60_000 },
    destination: { bucket: 'b', key: 'k' },
    contentType: 'a/b',
    metadata: {},
    chunkSize: PART,
    expectedSize: null,
    encryption: null,
    apiKey: null,
    s3UploadId: randomUUID(),
    token: { uploadId: 'upload/s', nonce: randomUUID() },
    runId: 'run',
    runStartedAt: '2026-01-01T00:00:00.000Z',
    runGeneration,
  });
}

const at = { session: 's', generation: 1 };
const extent = () => readExtent(db.pool, at);

async function settle(partNumber: number, size: number): Promise<void> {
  const claim = await claimPart(db.pool, { ...at, partNumber });
  const parts = createPartWriter(db.pool);
  expect(await parts.settle({ ...at, partNumber, claim, etag: 'e', crc32: null, size })).toBe(true);
}

describe('the tail', () => {
  test('follows the parts that are there without a gap, and is read as it was kept', async () => {
    const bytes = someBytes(2 * MiB + 5);
    expect(await extent()).toEqual({ parts: 0, partBytes: 0, tailBytes: 0 });
    await settle(1, PART);
    await settle(3, PART);
    const writer = await takeWriter(db.pool, 's');
    await appendTail(db.pool, { ...at, writer, start: PART }, bytes.subarray(0, 100));
    await appendTail(db.pool, { ...at, writer, start: PART + 100 }, bytes.subarray(100));
    expect(await extent()).toEqual({ parts: 1, partBytes: PART, tailBytes: bytes.byteLength });
    const read = Buffer.alloc(bytes.byteLength);
    await readTail(db.pool, 's', PART, read);
    expect(read.equals(bytes)).toBe(true);
    await expect(readTail(db.pool, 's', PART, Buffer.alloc(bytes.byteLength + 1))).rejects.toMatchObject({
      code: 'ChunkSuperseded',
    });
    await cutTail(db.pool, 's', PART + 100);
    expect(await extent()).toMatchObject({ tailBytes: 0 });
  });

  test('what is kept again from a place on replaces what was kept there', async () => {
    const writer = await takeWriter(db.pool, 's');
    await appendTail(db.pool, { ...at, writer, start: 0 }, Buffer.alloc(10, 1));
    await appendTail(db.pool, { ...at, writer, start: 10 }, Buffer.alloc(10, 2));
    await appendTail(db.pool, { ...at, writer, start: 10 }, Buffer.alloc(3, 3));
    expect(await extent()).toMatchObject({ tailBytes: 13 });
  });

  test('only the newest writer keeps bytes, of the generation of the moment, and of a session that takes them', async () => {
    const [older, newer] = [await takeWriter(db.pool, 's'), await takeWriter(db.pool, 's')];
    const keep = (writer: number, generation = 1) =>
      appendTail(db.pool, { session: 's', generation, writer, start: 0 }, Buffer.from('x'));
    await expect(keep(older)).rejects.toMatchObject({ code: 'ChunkSuperseded' });
    await setOpen(db.pool, { id: 's', generation: 1, turn: 1 }, false);
    await expect(keep(newer)).rejects.toMatchObject({ code: 'NotRunning' });
    await setOpen(db.pool, { id: 's', generation: 1, turn: 2 }, true);
    await keep(newer);
    await open(2);
    await expect(keep(newer)).rejects.toMatchObject({ code: 'NoSuchUpload' });
    expect(await readExtent(db.pool, { session: 's', generation: 2 })).toMatchObject({ tailBytes: 0 });
    await keep(newer, 2);
  });
});

test('a length is said once', async () => {
  expect(await declareLength(db.pool, 's', 5)).toBe(5);
  expect(await declareLength(db.pool, 's', 6)).toBe(5);
  await addTusUpload(db.pool, { session: 's', metadata: 'other', length: 7, concat: null });
  expect(await getTusUpload(db.pool, 's')).toEqual({ session: 's', metadata: null, length: 5, concat: null });
});

describe('the writer', () => {
  interface Sent {
    partNumber: number;
    bytes: Buffer;
  }

  async function writer(receive?: (sent: Sent) => Promise<void>) {
    const sent: Sent[] = [];
    const row = await getSession(db.pool, 's');
    if (row === undefined) throw new Error('there is no session');
    const deps = {
      db: db.pool,
      buffers: createBufferPool(2 * PART),
      caller: { apiKey: null, trusted: true },
      row,
      writer: await takeWriter(db.pool, 's'),
      stop: new AbortController().signal,
      sessions: {
        touch: () => Promise.resolve(),
        receive: async (
          _caller: unknown,
          _row: unknown,
          chunk: { partNumber: number; length: number; body: unknown },
        ) => {
          const { partNumber, length } = chunk;
          const bytes = Buffer.from(chunk.body as Buffer);
          expect(bytes.byteLength).toBe(length);
          await receive?.({ partNumber, bytes });
          sent.push({ partNumber, bytes });
          await settle(partNumber, length);
          return { partNumber, size: length, etag: 'e', crc32: '' };
        },
      },
    };
    return { writer: new UploadWriter(deps, await extent()), sent };
  }

  async function offer(to: UploadWriter, bytes: Buffer, step: number): Promise<void> {
    for (let from = 0; from < bytes.byteLength; from += step)
      await to.accept(bytes.subarray(from, from + step));
  }

  test('cuts parts of equal size, in order, and ends with what is left', async () => {
    const bytes = someBytes(3 * PART + 11);
    const { writer: to, sent } = await writer();
    await offer(to, bytes, 70_001);
    await to.settle(true);
    expect(to.offset).toBe(bytes.byteLength);
    expect(sent.map(({ partNumber }) => partNumber)).toEqual([1, 2, 3, 4]);
    expect(Buffer.concat(sent.map(({ bytes: each }) => each)).equals(bytes)).toBe(true);
    expect(await extent()).toEqual({ parts: 4, partBytes: bytes.byteLength, tailBytes: 0 });
  });

  test.each([1, 100_000, MiB, PART - 1])('goes on after %d kept bytes, slowly and fast', async (kept) => {
    const bytes = someBytes(2 * PART + 5);
    const first = await writer();
    await offer(first.writer, bytes.subarray(0, kept), 65_536);
    await first.writer.settle(false);
    expect(first.sent).toEqual([]);
    expect(await extent()).toMatchObject({ parts: 0, tailBytes: kept });
    const { writer: to, sent } = await writer();
    expect(to.offset).toBe(kept);
    await offer(to, bytes.subarray(kept, kept + 10), 65_536);
    // From here on in small memory.
    await to.keep();
    await offer(to, bytes.subarray(kept + 10), 65_536);
    await to.settle(true);
    expect(Buffer.concat(sent.map(({ bytes: each }) => each)).equals(bytes)).toBe(true);
    expect((await db.pool.query('SELECT 1 FROM session_tails')).rowCount).toBe(0);
  });

  test('an upload without a byte is one empty part', async () => {
    const { writer: to, sent } = await writer();
    await to.settle(true);
    expect(sent).toEqual([{ partNumber: 1, bytes: Buffer.alloc(0) }]);
  });

  test('a part that fails fails what follows, and nothing after it counts', async () => {
    const failure = new LongshoreError('S3Unavailable', 'away', { op: 'UploadPart' });
    const { writer: to } = await writer(({ partNumber }) =>
      partNumber === 2 ? Promise.reject(failure) : Promise.resolve(),
    );
    await expect(
      (async () => {
        await offer(to, someBytes(3 * PART), 65_536);
        await to.settle(false);
      })(),
    ).rejects.toBe(failure);
    to.forget();
    expect(await extent()).toEqual({ parts: 1, partBytes: PART, tailBytes: 0 });
  });

  test('an older one sends no part any more', async () => {
    const older = await writer();
    const newer = await writer();
    await expect(
      (async () => {
        await offer(older.writer, someBytes(PART), PART);
        await older.writer.settle(false);
      })(),
    ).rejects.toMatchObject({ code: 'ChunkSuperseded' });
    expect(older.sent).toEqual([]);
    await offer(newer.writer, someBytes(PART), PART);
    await newer.writer.settle(false);
    expect(newer.sent).toHaveLength(1);
  });
});
