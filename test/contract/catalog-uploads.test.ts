import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { getUpload, listUploads, reportUpload } from '../../src/infra/catalog/uploads.js';
import type { UploadReport } from '../../src/core/uploads.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

const base: UploadReport = {
  id: 'a',
  workflowId: 'upload/a',
  runId: 'run-1',
  runStartedAt: '2026-01-01T00:00:00.123Z',
  sequence: 1,
  state: 'PENDING',
  destination: { bucket: 'b', key: 'k ü/🚢' },
  source: { kind: 'file', label: 'host:file' },
};
const failure = {
  code: 'RootUnavailable',
  message: 'gone',
  op: 'open',
  key: 'host:file',
  hint: 'mount it',
} as const;
const result = {
  bucket: 'b',
  key: 'k ü/🚢',
  size: 5 * 2 ** 40,
  etag: '"e"',
  versionId: 'v',
  checksum: 'crc32:AAAA',
  verification: 'full',
  bytesSent: 6 * 2 ** 40,
  parts: 7,
  generations: 2,
} as const;
const report = (change: Partial<UploadReport>) => reportUpload(db.pool, 'inst', { ...base, ...change });
const row = async () => {
  const found = await getUpload(db.pool, 'a');
  if (found === undefined) throw new Error('the row is not there');
  return found;
};

describe('reports', () => {
  test('a life from start to end', async () => {
    await report({});
    expect(await row()).toMatchObject({
      state: 'PENDING',
      size: null,
      startedAt: null,
      finishedAt: null,
      failure: null,
      attempts: 1,
    });
    await report({
      sequence: 2,
      state: 'UPLOADING',
      size: 10,
      partSize: 5,
      parts: 2,
      generations: 1,
      s3UploadId: 'u1',
    });
    await report({ sequence: 3, state: 'COMPLETED', result });
    expect(await row()).toMatchObject({
      ...{ id: 'a', workflowId: 'upload/a', runId: 'run-1', runStartedAt: base.runStartedAt, sequence: 3 },
      ...{ installation: 'inst', bucket: 'b', key: 'k ü/🚢', sourceKind: 'file', sourceLabel: 'host:file' },
      ...{ state: 'COMPLETED', size: 5 * 2 ** 40, partSize: 5, parts: 7, generations: 2, s3UploadId: 'u1' },
      ...{
        bytesSent: 6 * 2 ** 40,
        checksum: 'crc32:AAAA',
        verification: 'full',
        etag: '"e"',
        versionId: 'v',
      },
      ...{
        createdAt: base.runStartedAt,
        startedAt: expect.any(String) as string,
        finishedAt: expect.any(String) as string,
      },
    });
  });

  test('late and repeated ones change nothing', async () => {
    await report({ sequence: 5, state: 'COMPLETED', result });
    const before = await row();
    await report({ sequence: 4, state: 'UPLOADING', s3UploadId: 'late' });
    await report({ sequence: 5, state: 'FAILED', failure });
    expect(await row()).toEqual(before);
  });

  test('what a report leaves out stays; a size that is unknown again is written', async () => {
    await report({ sequence: 1, state: 'UPLOADING', size: 10, partSize: 5, s3UploadId: 'u1' });
    await report({ sequence: 2, state: 'PAUSED' });
    expect(await row()).toMatchObject({ state: 'PAUSED', size: 10, partSize: 5, s3UploadId: 'u1' });
    await report({ sequence: 3, state: 'UPLOADING', size: null });
    expect(await row()).toMatchObject({ size: null, partSize: 5 });
  });

  test('a failure stays while the state has one, and leaves with it', async () => {
    await report({ sequence: 1, state: 'BLOCKED', failure });
    await report({ sequence: 2, state: 'BLOCKED', parts: 3 });
    expect((await row()).failure).toEqual(failure);
    await report({ sequence: 3, state: 'UPLOADING' });
    expect((await row()).failure).toBeNull();
  });

  test('a new run begins without the failure and result of the last, and counts', async () => {
    await report({ sequence: 9, state: 'FAILED', failure, result, s3UploadId: 'u1' });
    const next = { runId: 'run-2', runStartedAt: '2026-01-02T00:00:00.000Z', sequence: 1 };
    await report({ ...next, state: 'PENDING' });
    const fresh = await row();
    expect(fresh).toMatchObject({
      state: 'PENDING',
      attempts: 2,
      runId: 'run-2',
      failure: null,
      createdAt: base.runStartedAt,
    });
    expect(fresh).toMatchObject({
      etag: null,
      checksum: null,
      versionId: null,
      verification: null,
      bytesSent: null,
    });
    expect(fresh).toMatchObject({ startedAt: null, finishedAt: null, s3UploadId: 'u1' });
    await report({ ...next, state: 'PENDING' });
    await report({ sequence: 99, state: 'COMPLETED', result });
    expect(await row()).toEqual(fresh);
  });

  test('any order of arrival ends in the same row', async () => {
    const story = [1, 2, 3, 4, 5, 6].map((sequence) => ({
      ...{ sequence, state: sequence === 6 ? ('CANCELLED' as const) : ('UPLOADING' as const) },
      ...{ s3UploadId: `u${sequence}`, size: sequence },
    }));
    const pools = [db.pool, db.another(), db.another()];
    const shuffled = [4, 0, 5, 2, 1, 3, 5, 0];
    await Promise.all(
      shuffled.map((at, index) =>
        reportUpload(pools[index % 3] ?? db.pool, 'inst', { ...base, ...story[at] }),
      ),
    );
    expect(await row()).toMatchObject({
      state: 'CANCELLED',
      sequence: 6,
      s3UploadId: 'u6',
      size: 6,
      attempts: 1,
    });
  });

  test('a NUL in a reason is shown as a stand-in', async () => {
    await report({ state: 'FAILED', failure: { ...failure, message: 'a\0b' } });
    expect((await row()).failure?.message).toBe('a\uFFFDb');
  });

  test('a state that does not exist is refused', async () => {
    await expect(report({ state: 'LOST' as never })).rejects.toMatchObject({ code: 'Internal' });
  });
});

describe('lists', () => {
  const fill = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      const id = `id-${String(n).padStart(3, '0')}`;
      const state = n % 2 === 0 ? 'UPLOADING' : 'COMPLETED';
      // Four rows share each instant.
      const runStartedAt = new Date(Date.UTC(2026, 0, 1) + Math.floor(n / 4)).toISOString();
      await report({
        id,
        workflowId: `upload/${id}`,
        state,
        runStartedAt,
        destination: { bucket: `b${n % 3}`, key: id },
      });
    }
  };
  const walk = async (ask: Omit<Parameters<typeof listUploads>[1], 'cursor'>) => {
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = await listUploads(db.pool, { ...ask, cursor });
      pages.push(page.rows.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return pages;
  };
  const ids = (count: number, keep: (n: number) => boolean = () => true) =>
    Array.from({ length: count }, (_, n) => n)
      .filter(keep)
      .map((n) => `id-${String(n).padStart(3, '0')}`)
      .reverse();

  test('pages newest first, each row once, also where times are equal', async () => {
    await fill(23);
    const pages = await walk({ limit: 3 });
    expect(pages).toHaveLength(8);
    expect(pages.flat()).toEqual(ids(23));
    expect((await walk({ limit: 23 })).map((page) => page.length)).toEqual([23]);
  });

  test('filters by state and bucket', async () => {
    await fill(23);
    expect((await walk({ limit: 2, state: 'COMPLETED' })).flat()).toEqual(ids(23, (n) => n % 2 === 1));
    expect((await walk({ limit: 2, bucket: 'b1' })).flat()).toEqual(ids(23, (n) => n % 3 === 1));
    expect(await walk({ limit: 5, bucket: 'none' })).toEqual([[]]);
  });

  test('a row that arrives between pages moves none', async () => {
    await fill(8);
    const first = await listUploads(db.pool, { limit: 4 });
    await report({ id: 'newer', runStartedAt: '2026-02-01T00:00:00.000Z' });
    const second = await listUploads(db.pool, { limit: 4, cursor: first.nextCursor ?? undefined });
    expect([...first.rows, ...second.rows].map(({ id }) => id)).toEqual(ids(8));
  });

  test.each([
    '',
    'x',
    Buffer.from('[1,2]').toString('base64url'),
    Buffer.from('["now","a"]').toString('base64url'),
  ])('refuses the cursor %j', async (cursor) => {
    await expect(listUploads(db.pool, { limit: 1, cursor })).rejects.toMatchObject({ code: 'InvalidInput' });
  });

  test.each([0, 1001, 1.5])('refuses a page of %d rows', async (limit) => {
    await expect(listUploads(db.pool, { limit })).rejects.toMatchObject({ code: 'InvalidInput' });
  });
});
