import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobRef } from '../../src/core/job-steps.js';
import { claimBatch, settleFiles } from '../../src/infra/catalog/files.js';
import { jobCounts } from '../../src/infra/catalog/jobs.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { readManifest, scanProgress, writeScan } from '../../src/infra/catalog/scans.js';
import type { ManifestRow } from '../../src/infra/catalog/scans.js';
import { aRun, scanned, uploaded, wholeScan } from '../helpers/catalog-jobs.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';
import { eventually } from '../helpers/wait.js';

let db: TestSchema;
let ref: JobRef;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  ref = await aRun(db.pool, 'a');
});
afterEach(() => db.drop());

const manifest = (limit = 10_000) => readManifest(db.pool, ref.job, { after: null, limit });
const paths = (rows: readonly ManifestRow[]) => rows.map(({ path }) => path);
const ODD = [
  'tab\there',
  'line\nfeed',
  'cr\rhere',
  'back\\slash',
  '\\N',
  '\\.',
  'a\\tb',
  '🚢',
  'é',
  'e\u0301',
  '"',
  "'",
];

describe('names', () => {
  test('copied and upserted, they come back as they were, in the order of their bytes', async () => {
    const inBytes = [...ODD].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    const reason = 'why\t\\N\n\0';
    const rows = inBytes.map((name) =>
      scanned(name, { state: 'FAILED', batch: null, failureReason: reason }),
    );
    await writeScan(db.pool, ref, wholeScan(rows));
    expect(paths(await manifest())).toEqual(inBytes);
    ref = await aRun(db.pool, 'a', 'run-2', 'sync');
    await writeScan(db.pool, ref, wholeScan(inBytes.map((name) => scanned(name))));
    expect(await manifest()).toEqual(
      inBytes.map((path) => ({
        path,
        state: 'PENDING',
        size: 10,
        mtimeNs: '1700000000123456789',
        checksum: null,
        gone: false,
        generation: 2,
      })),
    );
    const { rows: raw } = await db.pool.query('SELECT DISTINCT failure_code, failure_reason FROM files');
    expect(raw).toEqual([{ failure_code: null, failure_reason: null }]);
  });

  test('two that are shown alike have one row, and it is of the one that can be sent', async () => {
    const bad = scanned('\\xFF', { state: 'FAILED', batch: null, failureCode: 'InvalidInput' });
    await writeScan(db.pool, ref, { ...wholeScan([scanned('\\xFF'), bad]), done: false });
    await writeScan(db.pool, ref, { ...wholeScan([bad]), follows: '\\xFF', cursor: '~' });
    expect(await manifest()).toMatchObject([{ path: '\\xFF', state: 'PENDING' }]);
  });

  test('times past 2262 do not stop the scan', async () => {
    await writeScan(db.pool, ref, wholeScan([scanned('a', { mtimeNs: '99999999999999999999' })]));
    expect(await manifest()).toMatchObject([{ mtimeNs: '9223372036854775807' }]);
  });
});

describe('progress', () => {
  test('goes on where the last chunk ended', async () => {
    const one = wholeScan([scanned('a'), scanned('b', { batch: 2 })], { done: false });
    const openBatch = { batch: 2, files: 1, bytes: 10 };
    await writeScan(db.pool, ref, { ...one, batches: one.batches.slice(0, 1), openBatch });
    expect(await scanProgress(db.pool, ref)).toEqual({
      cursor: 'b',
      done: false,
      batches: 1,
      found: one.found,
      openBatch,
    });
    await writeScan(db.pool, ref, { ...wholeScan([scanned('c', { batch: 2 })]), follows: 'b' });
    expect(await scanProgress(db.pool, ref)).toMatchObject({
      cursor: 'c',
      done: true,
      batches: 2,
      openBatch: null,
    });
    expect((await claimBatch(db.pool, ref, 2)).map(({ path }) => path)).toEqual(['b', 'c']);
  });

  test('an empty folder is a scan too, and is written once', async () => {
    await writeScan(db.pool, ref, wholeScan([]));
    expect(await scanProgress(db.pool, ref)).toMatchObject({ cursor: null, done: true });
    await expect(writeScan(db.pool, ref, wholeScan([]))).rejects.toMatchObject({ code: 'AttemptFenced' });
  });

  test('two scanners race: each chunk is written once, by one of them', async () => {
    const chunks = Array.from({ length: 10 }, (_, n) => {
      const rows = [0, 1, 2].map((k) => scanned(`${n}-${k}`, { batch: n + 1 }));
      return { ...wholeScan(rows), follows: n === 0 ? null : `${n - 1}-2`, done: n === 9 };
    });
    const other = db.another();
    const won = [0, 0];
    for (const chunk of chunks) {
      const both = await Promise.allSettled([db.pool, other].map((pool) => writeScan(pool, ref, chunk)));
      expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      both.forEach((each, index) => {
        if (each.status === 'fulfilled') won[index] = (won[index] ?? 0) + 1;
        else expect(each.reason).toMatchObject({ code: 'AttemptFenced' });
      });
    }
    expect(await manifest()).toHaveLength(30);
    expect((won[0] ?? 0) + (won[1] ?? 0)).toBe(10);
  });

  test('a scanner of a run that was overtaken writes nothing', async () => {
    await aRun(db.pool, 'a', 'run-2', 'sync');
    await expect(writeScan(db.pool, ref, wholeScan([scanned('x')]))).rejects.toMatchObject({
      code: 'AttemptFenced',
    });
    expect(await manifest()).toEqual([]);
  });

  test.each([
    [
      'the first row',
      'CREATE TRIGGER stop BEFORE INSERT ON files FOR EACH STATEMENT EXECUTE FUNCTION stop()',
    ],
    ['the rows', 'CREATE TRIGGER stop AFTER INSERT ON files FOR EACH STATEMENT EXECUTE FUNCTION stop()'],
    [
      'the batches',
      'CREATE TRIGGER stop AFTER INSERT ON upload_batches FOR EACH STATEMENT EXECUTE FUNCTION stop()',
    ],
    [
      'the progress',
      'CREATE TRIGGER stop AFTER UPDATE ON upload_jobs FOR EACH STATEMENT EXECUTE FUNCTION stop()',
    ],
  ])('cut off at %s, a chunk leaves nothing, and goes in whole at the next try', async (_point, trigger) => {
    const chunk = wholeScan([scanned('x'), scanned('y')]);
    await db.pool.query(`CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$`);
    await db.pool.query(trigger);
    await expect(writeScan(db.pool, ref, chunk)).rejects.toMatchObject({ code: 'CatalogUnavailable' });
    await db.pool.query('DROP FUNCTION stop CASCADE');
    expect(await manifest()).toEqual([]);
    expect(await scanProgress(db.pool, ref)).toMatchObject({ cursor: null, batches: 0, done: false });
    await writeScan(db.pool, ref, chunk);
    expect(paths(await manifest())).toEqual(['x', 'y']);
    expect((await jobCounts(db.pool, [ref.job])).get(ref.job)).toMatchObject({ totalFiles: 2 });
  });

  test('a scanner that dies holds nobody up', async () => {
    const holder = await db.pool.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM upload_jobs FOR UPDATE');
    const waiting = writeScan(db.another(), ref, wholeScan([scanned('x')]));
    await eventually(async () => {
      const { rows } = await db.pool.query(
        `SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`,
        [db.schema],
      );
      return rows.length === 1;
    });
    holder.release(new Error('gone'));
    await waiting;
    expect(paths(await manifest())).toEqual(['x']);
  });
});

describe('a second look', () => {
  test('changed files are sent again and keep what is known of their object; gone ones are marked or forgotten', async () => {
    const rows = ['a', 'b', 'c'].map((name) => scanned(name));
    await writeScan(db.pool, ref, wholeScan([...rows, scanned('d', { state: 'SKIPPED', batch: null })]));
    await settleFiles(
      db.pool,
      ref,
      1,
      rows.map(({ path }) => uploaded(path)),
    );
    ref = await aRun(db.pool, 'a', 'run-2', 'sync');
    await writeScan(db.pool, ref, { ...wholeScan([scanned('b', { size: 11 })]), gone: ['c', 'd'] });
    expect(await manifest()).toMatchObject([
      { path: 'a', state: 'UPLOADED', generation: 1, gone: false },
      { path: 'b', state: 'PENDING', generation: 2, size: 11, checksum: 'crc32:AAAAAA==' },
      { path: 'c', state: 'UPLOADED', gone: true },
    ]);
    ref = await aRun(db.pool, 'a', 'run-3', 'sync');
    await writeScan(db.pool, ref, wholeScan([scanned('c')]));
    expect((await manifest())[2]).toMatchObject({ path: 'c', state: 'PENDING', gone: false });
    expect((await claimBatch(db.pool, ref, 1)).map(({ path }) => path)).toEqual(['c']);
  });
});
