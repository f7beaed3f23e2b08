import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  claimBatch,
  endBatch,
  forgetFiles,
  listFiles,
  lookAtDeletions,
  nextGone,
  nextLarge,
  readUploaded,
  regroup,
  resend,
  settleFiles,
  settleLarge,
} from '../../src/infra/catalog/files.js';
import { finishJob, jobCounts } from '../../src/infra/catalog/jobs.js';
import type { JobRef } from '../../src/core/job-steps.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { writeScan } from '../../src/infra/catalog/scans.js';
import { aRun, scanned, uploaded, wholeScan } from '../helpers/catalog-jobs.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
let ref: JobRef;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  ref = await aRun(db.pool, 'a');
});
afterEach(() => db.drop());

const scan = (...rows: Parameters<typeof wholeScan>[0]) => writeScan(db.pool, ref, wholeScan(rows));
const list = async (ask: object = {}) => (await listFiles(db.pool, ref.job, { limit: 1000, ...ask })).rows;
const paths = (rows: readonly { path: string }[]) => rows.map(({ path }) => path);
const counts = async () => (await jobCounts(db.pool, [ref.job])).get(ref.job);

describe('batches', () => {
  test('what is left of a batch is claimed again after a kill at any point', async () => {
    await scan(scanned('a'), scanned('b'), scanned('c', { batch: 2 }));
    expect(await claimBatch(db.pool, ref, 1)).toEqual([
      { path: 'a', size: 10, mtimeNs: '1700000000123456789', marker: false, attempts: 0 },
      { path: 'b', size: 10, mtimeNs: '1700000000123456789', marker: false, attempts: 0 },
    ]);
    expect(paths(await list({ state: 'IN_PROGRESS' }))).toEqual(['a', 'b']);
    await settleFiles(db.pool, ref, 1, [uploaded('a')]);
    await settleFiles(db.pool, ref, 1, [uploaded('a')]);
    expect(paths(await claimBatch(db.pool, ref, 1))).toEqual(['b']);
    await settleFiles(db.pool, ref, 1, [{ ...uploaded('b'), state: 'PENDING', failureReason: 'grew' }]);
    expect(await claimBatch(db.pool, ref, 1)).toMatchObject([{ path: 'b', attempts: 1 }]);
    await endBatch(db.pool, ref, 1);
    expect(paths(await list({ state: 'PENDING' }))).toEqual(['b', 'c']);
    expect(await counts()).toMatchObject({ sentFiles: 1, completedFiles: 1, sentBytes: 20 });
  });

  test('an empty batch answers no file; a batch that is not there is refused', async () => {
    await scan(scanned('a'));
    await settleFiles(db.pool, ref, 1, [uploaded('a')]);
    expect(await claimBatch(db.pool, ref, 1)).toEqual([]);
    await expect(claimBatch(db.pool, ref, 7)).rejects.toMatchObject({ code: 'AttemptFenced' });
  });

  test('a run that was overtaken changes nothing', async () => {
    await scan(scanned('a'));
    await claimBatch(db.pool, ref, 1);
    const next = await aRun(db.pool, 'a', 'run-2', 'sync');
    await writeScan(db.pool, next, wholeScan([scanned('a', { size: 11 })]));
    await claimBatch(db.pool, next, 1);
    const before = await db.pool.query('SELECT * FROM files, upload_batches, upload_jobs');
    const late = [
      settleFiles(db.pool, ref, 1, [uploaded('a')]),
      claimBatch(db.pool, ref, 1),
      regroup(db.pool, ref, { maxAttempts: 3, statuses: ['PENDING', 'FAILED'] }),
      resend(db.pool, ref, ['a']),
      forgetFiles(db.pool, ref, ['a']),
      nextLarge(db.pool, { ...ref, after: 0, limit: 5 }),
    ];
    for (const { reason, status } of await Promise.allSettled(late).then((all) =>
      all.map((each) => ({ reason: undefined, ...each })),
    )) {
      expect([status, (reason as { code?: string } | undefined)?.code]).toEqual([
        'rejected',
        'AttemptFenced',
      ]);
    }
    await endBatch(db.pool, ref, 1);
    await settleLarge(db.pool, { ...ref, file: 1, uploadId: 'u' });
    expect((await db.pool.query('SELECT * FROM files, upload_batches, upload_jobs')).rows).toEqual(
      before.rows,
    );
    expect(paths(await list({ state: 'IN_PROGRESS' }))).toEqual(['a']);
  });

  test('a hundred writers at once: every file once, every counter exact', async () => {
    const rows = Array.from({ length: 2000 }, (_, n) => scanned(`f${n}`, { batch: 1 + (n % 4) }));
    await scan(...rows);
    const pool = db.another({ max: 10 });
    await Promise.all(
      Array.from({ length: 100 }, (_, n) => {
        const batch = 1 + (n % 4);
        const mine = rows.filter((row) => row.batch === batch);
        // Each file is told of by four writers.
        const from = (Math.floor(n / 4) % 25) * 20;
        const part = [...mine, ...mine].slice(from, from + 80);
        return settleFiles(
          pool,
          ref,
          batch,
          part.map(({ path }) => uploaded(path)),
        );
      }),
    );
    expect(await counts()).toMatchObject({ sentFiles: 2000, sentBytes: 20_000, completedFiles: 2000 });
    expect(await list({ state: 'PENDING' })).toEqual([]);
  });

  test('reasons and names of any kind', async () => {
    const names = [
      'a\nb',
      'a\tb',
      'a\\N',
      '\\N',
      'é',
      'e\u0301',
      '🚢.txt',
      '\\xFF',
      '{"a",b}',
      "o'k",
      ' ',
      'NULL',
    ];
    await scan(...names.map((name) => scanned(name)));
    expect(paths(await claimBatch(db.pool, ref, 1)).sort()).toEqual([...names].sort());
    await settleFiles(
      db.pool,
      ref,
      1,
      names.map((name) => ({
        ...uploaded(name),
        state: 'FAILED',
        failureCode: 'SourceDenied',
        failureReason: `${name}\0`,
      })),
    );
    for (const row of await list({ state: 'FAILED' })) expect(row.failureReason).toBe(`${row.path}\uFFFD`);
    expect(await list({ state: 'FAILED' })).toHaveLength(names.length);
  });
});

describe('large files', () => {
  const large = (path: string) => scanned(path, { large: true, batch: null, size: 2 ** 33 });
  const ask = (after: number, limit = 10) => nextLarge(db.pool, { ...ref, after, limit });
  const result = { size: 2 ** 33, etag: '"e-2"', checksum: 'crc32:BBBBBB==', bytesSent: 2 ** 33 + 5 };

  test('come by number, are marked, and settle once', async () => {
    await scan(large('a'), large('b'), scanned('c'));
    const [first] = await ask(0, 1);
    if (first === undefined) throw new Error('no large file');
    expect(await ask(0, 1)).toEqual([first]);
    expect(first).toMatchObject({ path: 'a', size: 2 ** 33, uploadId: `a.1.${first.file}` });
    expect(paths(await list({ state: 'IN_PROGRESS' }))).toEqual(['a']);
    expect(paths(await ask(first.file))).toEqual(['b']);
    const outcome = { ...ref, file: first.file, uploadId: first.uploadId, result };
    await settleLarge(db.pool, outcome);
    await settleLarge(db.pool, outcome);
    await settleLarge(db.pool, { ...ref, file: first.file, uploadId: 'x', cancelled: true });
    expect(await list({ state: 'UPLOADED' })).toMatchObject([
      { path: 'a', etag: '"e-2"', checksum: 'crc32:BBBBBB==', uploadId: first.uploadId, attempts: 1 },
    ]);
    expect(await counts()).toMatchObject({ sentFiles: 1, sentBytes: 2 ** 33 + 5, completedBytes: 2 ** 33 });
  });

  test('a cancelled one is pending again, a failed one says why', async () => {
    await scan(large('a'), large('b'));
    const [a, b] = await ask(0);
    if (a === undefined || b === undefined) throw new Error('no large files');
    await settleLarge(db.pool, { ...ref, file: a.file, uploadId: a.uploadId, cancelled: true });
    const failure = { code: 'SourceChanged', message: 'grew', hint: '' } as const;
    await settleLarge(db.pool, { ...ref, file: b.file, uploadId: b.uploadId, failure });
    expect(paths(await list({ state: 'PENDING' }))).toEqual(['a']);
    expect(await list({ state: 'FAILED' })).toMatchObject([
      { failureCode: 'SourceChanged', failureReason: 'grew' },
    ]);
  });

  test('a rising cursor meets what an old row becomes, and what a later round takes up', async () => {
    await scan(large('m'), large('z'));
    for (const { file, uploadId } of await ask(0))
      await settleLarge(db.pool, { ...ref, file, uploadId, result });
    await finishJob(db.pool, ref, { state: 'COMPLETED' });
    ref = await aRun(db.pool, 'a', 'run-2', 'sync');
    const [one, two] = [wholeScan([large('a'), large('m')]), wholeScan([large('z')])];
    await writeScan(db.pool, ref, { ...one, done: false });
    const before = await ask(0);
    expect(paths(before).sort()).toEqual(['a', 'm']);
    await writeScan(db.pool, ref, { ...two, follows: one.cursor });
    const last = Math.max(...before.map(({ file }) => file));
    const after = await ask(last);
    expect(paths(after)).toEqual(['z']);
    await regroup(db.pool, ref, { maxAttempts: 3, statuses: ['PENDING'] });
    expect(paths(await ask(after[0]?.file ?? 0)).sort()).toEqual(['a', 'm', 'z']);
  });
});

describe('rounds', () => {
  test('leftovers go into batches of bounded size; what was tried too often fails', async () => {
    const many = Array.from({ length: 1200 }, (_, n) => scanned(`f${String(n).padStart(4, '0')}`));
    const big = [0, 1, 2].map((n) => scanned(`g${n}`, { size: 60 * 2 ** 20 }));
    await scan(...many, ...big);
    const tired = { ...uploaded('f0000'), state: 'PENDING' } as const;
    for (let n = 0; n < 3; n += 1) await settleFiles(db.pool, ref, 1, [tired]);
    const answer = await regroup(db.pool, ref, { maxAttempts: 3, statuses: ['PENDING'] });
    expect(answer.pending).toBe(1202);
    expect(await list({ state: 'FAILED' })).toMatchObject([{ path: 'f0000', failureCode: 'SourceChanged' }]);
    const claimed: string[] = [];
    for (let batch = 2; batch <= answer.batches; batch += 1) {
      const files = await claimBatch(db.pool, ref, batch);
      expect(files.length).toBeLessThanOrEqual(501);
      expect(files.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(128 * 2 ** 20);
      claimed.push(...paths(files));
    }
    expect(claimed.sort()).toEqual(
      paths([...many, ...big])
        .filter((path) => path !== 'f0000')
        .sort(),
    );
    expect(await claimBatch(db.pool, ref, 1)).toEqual([]);
    expect(await counts()).toMatchObject({ totalFiles: 1203, failedFiles: 1 });
  });

  test('repeated after a lost answer, nothing is lost and nothing is twice', async () => {
    await scan(scanned('a'), scanned('b'));
    const ask = { maxAttempts: 3, statuses: ['PENDING'] } as const;
    await regroup(db.pool, ref, ask);
    expect(await regroup(db.pool, ref, ask)).toEqual({ batches: 3, pending: 2 });
    expect(await claimBatch(db.pool, ref, 2)).toEqual([]);
    expect(paths(await claimBatch(db.pool, ref, 3))).toEqual(['a', 'b']);
  });

  test('what the bucket lacks is sent again, and counted as not there meanwhile', async () => {
    await scan(scanned('a'), scanned('b'));
    await settleFiles(db.pool, ref, 1, [uploaded('a'), uploaded('b')]);
    expect(await readUploaded(db.pool, ref.job, { after: 'a', limit: 5 })).toMatchObject([{ path: 'b' }]);
    await resend(db.pool, ref, ['b', 'nothing']);
    await resend(db.pool, ref, ['b']);
    expect(await counts()).toMatchObject({ totalFiles: 2, completedFiles: 1, completedBytes: 10 });
    expect(await regroup(db.pool, ref, { maxAttempts: 3, statuses: ['PENDING'] })).toEqual({
      batches: 2,
      pending: 1,
    });
    await settleFiles(db.pool, ref, 2, [uploaded('b')]);
    const live = await counts();
    expect(live).toMatchObject({ completedFiles: 2, sentFiles: 3 });
    expect((await finishJob(db.pool, ref, { state: 'COMPLETED' })).counts).toEqual(live);
  });
});

test('objects of files that are gone: looked at, deleted in slices, forgotten once', async () => {
  await scan(scanned('a'), scanned('b'), scanned('c'), scanned('d', { state: 'FAILED', batch: null }));
  await settleFiles(
    db.pool,
    ref,
    1,
    ['a', 'b', 'c'].map((path) => uploaded(path)),
  );
  await finishJob(db.pool, ref, { state: 'COMPLETED' });
  ref = await aRun(db.pool, 'a', 'run-2', 'sync');
  await writeScan(db.pool, ref, { ...wholeScan([]), cursor: 'z', gone: ['a', 'b', 'd'] });
  expect(await lookAtDeletions(db.pool, ref)).toEqual({ gone: 2, known: 3 });
  expect(paths(await list())).toEqual(['c']);
  expect(paths(await nextGone(db.pool, ref, 1))).toEqual(['a']);
  await forgetFiles(db.pool, ref, ['a', 'c']);
  await forgetFiles(db.pool, ref, ['a', 'c']);
  expect(paths(await nextGone(db.pool, ref, 9))).toEqual(['b']);
  expect(await counts()).toMatchObject({ deletedFiles: 1 });
  expect(await lookAtDeletions(db.pool, ref)).toEqual({ gone: 1, known: 2 });
});

describe('lists', () => {
  test('pages in byte order, each file once, with a prefix and a state', async () => {
    const names = ['a', 'a/b', 'a0', 'b', 'B', 'e\u0301', 'é', '\uFFFD', '🚢', 'a/\n', 'a/🚢/x'];
    await scan(...names.map((name) => scanned(name)));
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const page = await listFiles(db.pool, ref.job, { limit: 3, after });
      seen.push(...paths(page.rows));
      after = page.next;
    } while (after !== undefined);
    const inBytes = [...names].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    expect(seen).toEqual(inBytes);
    expect(paths(await list({ prefix: 'a/' }))).toEqual(['a/\n', 'a/b', 'a/🚢/x']);
    expect(paths(await list({ prefix: 'a/', after: 'a/b' }))).toEqual(['a/🚢/x']);
    await settleFiles(db.pool, ref, 1, [uploaded('a/b')]);
    expect(paths(await list({ state: 'UPLOADED', prefix: 'a' }))).toEqual(['a/b']);
    expect(paths(await list({ state: 'UPLOADED', prefix: 'b' }))).toEqual([]);
    await expect(list({ limit: 0 })).rejects.toMatchObject({ code: 'InvalidInput' });
  });

  test('shows times, sizes and what became of a file', async () => {
    await scan(scanned('a'), scanned('b', { state: 'SKIPPED', batch: null, size: null, mtimeNs: null }));
    await settleFiles(db.pool, ref, 1, [uploaded('a', { versionId: 'v' })]);
    expect(await list()).toMatchObject([
      {
        path: 'a',
        state: 'UPLOADED',
        size: 10,
        mtime: '2023-11-14T22:13:20.123Z',
        mtimeNs: '1700000000123456789',
        attempts: 1,
        versionId: 'v',
        failureCode: null,
      },
      { path: 'b', state: 'SKIPPED', size: null, mtime: null, failureCode: 'Skipped', checksum: null },
    ]);
  });
});
