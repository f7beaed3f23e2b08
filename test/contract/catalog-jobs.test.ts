import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  deleteJob,
  finishJob,
  getJob,
  getJobByNumber,
  insertJob,
  jobCounts,
  listJobs,
  noteCheck,
  openJob,
  reportJob,
  setLimits,
  setMonitored,
} from '../../src/infra/catalog/jobs.js';
import { claimBatch, endBatch, listFiles, regroup, settleFiles } from '../../src/infra/catalog/files.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { scanProgress, writeScan } from '../../src/infra/catalog/scans.js';
import { aRun, asked, definition, scanned, uploaded, wholeScan } from '../helpers/catalog-jobs.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

const newJob = (id: string) => ({ id, workflowId: `job/${id}`, definition, fingerprint: 'f' });
const job = async (id: string) => {
  const row = await getJob(db.pool, id);
  if (row === undefined) throw new Error(`job ${id} is not there`);
  return row;
};

describe('opening', () => {
  test('a hundred at once make one job', async () => {
    const pool = db.another({ max: 10 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => insertJob(pool, 'inst', newJob('a'))),
    );
    expect(answers.filter(Boolean)).toHaveLength(1);
    expect(await job('a')).toMatchObject({ state: 'PENDING', generation: 0, counts: null, runId: null });
  });

  test('keeps what was asked', async () => {
    const whole = {
      ...definition,
      filter: { include: ['*.txt', 'ü/**'] },
      monitor: { enabled: true },
      apiKey: 'k',
    };
    await insertJob(db.pool, 'inst', {
      ...newJob('a'),
      definition: whole,
      limits: { bandwidth: 2 ** 40, concurrency: 3 },
    });
    const row = await job('a');
    expect(row).toMatchObject({
      definition: whole,
      sourceFolder: '/data',
      sourceRoot: 'host',
      sourcePath: 'data',
      destinationBucket: 'b',
      destinationPrefix: 'p/',
      pattern: '*.txt,ü/**',
      monitored: true,
      limits: { bandwidth: 2 ** 40, concurrency: 3 },
      apiKey: 'k',
    });
    expect(await getJobByNumber(db.pool, row.no)).toEqual(row);
  });

  test('the same run gets the same answer, another one the next generation', async () => {
    const first = await openJob(db.pool, 'inst', asked('a', 'run-1'));
    expect(first).toMatchObject({
      generation: 1,
      definition,
      limits: { bandwidth: null, concurrency: null },
    });
    expect(await openJob(db.pool, 'inst', asked('a', 'run-1'))).toEqual(first);
    expect(await openJob(db.pool, 'inst', asked('a', 'run-2', 'sync'))).toEqual({ ...first, generation: 2 });
  });

  test('twenty attempts of one run at once raise the generation once', async () => {
    const pool = db.another({ max: 10 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => openJob(pool, 'inst', asked('a', 'run-1'))),
    );
    expect(new Set(answers.map(({ generation }) => generation))).toEqual(new Set([1]));
  });

  test('begins the scan afresh and clears the batches of the run before', async () => {
    const ref = await aRun(db.pool, 'a');
    await writeScan(db.pool, ref, wholeScan([scanned('x')]));
    const next = await aRun(db.pool, 'a', 'run-2', 'sync');
    expect(await scanProgress(db.pool, next)).toMatchObject({ cursor: null, done: false, batches: 0 });
    await expect(claimBatch(db.pool, next, 1)).rejects.toMatchObject({ code: 'AttemptFenced' });
    expect(await job('a')).toMatchObject({ state: 'IN_PROGRESS', phase: 'scan', finishedAt: null });
  });

  test('refuses what is not there, another definition, and a run that was overtaken', async () => {
    await expect(openJob(db.pool, 'inst', asked('a', 'run-1', 'sync'))).rejects.toMatchObject({
      code: 'NotFound',
    });
    await openJob(db.pool, 'inst', { ...asked('a', 'run-2'), runStartedAt: '2026-01-02T00:00:00.000Z' });
    await expect(
      openJob(db.pool, 'inst', { ...asked('a', 'run-3'), fingerprint: 'other' }),
    ).rejects.toMatchObject({ code: 'Conflict' });
    await expect(
      openJob(db.pool, 'inst', { ...asked('a', 'run-1'), runStartedAt: '2026-01-01T00:00:00.000Z' }),
    ).rejects.toMatchObject({ code: 'AttemptFenced' });
    expect(await job('a')).toMatchObject({ generation: 1, runId: 'run-2' });
  });

  test('limits that were changed before the run opens stay; a later run may bring its own', async () => {
    await insertJob(db.pool, 'inst', { ...newJob('a'), limits: { bandwidth: 1, concurrency: 1 } });
    expect(await setLimits(db.pool, 'a', { bandwidth: 5 })).toBe(true);
    const limits = { bandwidth: 1, concurrency: 1 };
    expect((await openJob(db.pool, 'inst', { ...asked('a', 'run-1'), limits })).limits).toEqual({
      bandwidth: 5,
      concurrency: 1,
    });
    const again = { ...asked('a', 'run-2', 'sync'), limits: { bandwidth: null, concurrency: 9 } };
    expect((await openJob(db.pool, 'inst', again)).limits).toEqual({ bandwidth: null, concurrency: 9 });
    expect(await setLimits(db.pool, 'nobody', { bandwidth: 5 })).toBe(false);
  });
});

describe('reports and the end', () => {
  const failure = { code: 'RootUnavailable', message: 'gone\0', hint: 'mount it' } as const;

  test('a report of an older run, or after the end, changes nothing', async () => {
    const old = await aRun(db.pool, 'a');
    const ref = await aRun(db.pool, 'a', 'run-2', 'sync');
    await reportJob(db.pool, { ...ref, state: 'BLOCKED', phase: 'transfer', failure });
    await reportJob(db.pool, { ...old, state: 'FAILED', phase: 'scan' });
    expect(await job('a')).toMatchObject({
      state: 'BLOCKED',
      phase: 'transfer',
      failure: { ...failure, message: 'gone\uFFFD' },
    });
    await reportJob(db.pool, { ...ref, state: 'IN_PROGRESS', phase: 'transfer' });
    expect((await job('a')).failure).toBeNull();
    await expect(finishJob(db.pool, old, { state: 'FAILED' })).rejects.toMatchObject({
      code: 'AttemptFenced',
    });
    await finishJob(db.pool, ref, { state: 'COMPLETED' });
    await reportJob(db.pool, { ...ref, state: 'IN_PROGRESS', phase: 'transfer' });
    expect(await job('a')).toMatchObject({ state: 'COMPLETED', phase: 'done' });
  });

  test('live counts agree with those of the rows, through failures, rounds and a retry', async () => {
    const ref = await aRun(db.pool, 'a');
    const rows = [1, 2, 3, 4].map((n) => scanned(`f${n}`));
    const odd = [
      scanned('g', { state: 'SKIPPED', batch: null, failureReason: 'a link' }),
      scanned('h', { state: 'FAILED', batch: null, size: null, failureCode: 'KeyTooLong' }),
    ];
    await writeScan(db.pool, ref, wholeScan([...rows, ...odd]));
    const live = async () => (await jobCounts(db.pool, [ref.job])).get(ref.job);
    expect(await live()).toMatchObject({
      totalFiles: 5,
      totalBytes: 40,
      completedFiles: 0,
      failedFiles: 1,
      skippedFiles: 1,
    });
    await claimBatch(db.pool, ref, 1);
    await settleFiles(db.pool, ref, 1, [
      uploaded('f1'),
      uploaded('f2', { size: 12, sentBytes: 12 }),
      { ...uploaded('f3'), state: 'FAILED', failureCode: 'SourceDenied' },
      { ...uploaded('f4'), state: 'PENDING', sentBytes: 3 },
    ]);
    await endBatch(db.pool, ref, 1);
    expect(await live()).toMatchObject({
      completedFiles: 2,
      completedBytes: 22,
      failedFiles: 2,
      sentBytes: 35,
    });
    const again = await regroup(db.pool, ref, { maxAttempts: 3, statuses: ['PENDING'] });
    expect(again).toEqual({ batches: 2, pending: 1 });
    await settleFiles(db.pool, ref, 2, [uploaded('f4')]);
    const before = await live();
    const { counts } = await finishJob(db.pool, ref, { state: 'COMPLETED' });
    expect(counts).toEqual({ ...before, totalBytes: 42 });
    expect(counts).toMatchObject({ completedFiles: 3, completedBytes: 32, failedFiles: 2, totalFiles: 5 });
    expect(await live()).toEqual(counts);
    expect((await finishJob(db.pool, ref, { state: 'COMPLETED' })).counts).toEqual(counts);

    const retry = await aRun(db.pool, 'a', 'run-2', 'retry');
    expect(await scanProgress(db.pool, retry)).toMatchObject({ done: true, batches: 0 });
    expect(await live()).toMatchObject({ totalFiles: 5, completedFiles: 3, failedFiles: 2, sentFiles: 0 });
    expect(await regroup(db.pool, retry, { maxAttempts: 3, statuses: ['PENDING', 'FAILED'] })).toEqual({
      batches: 1,
      pending: 1,
    });
    expect(await live()).toMatchObject({ totalFiles: 5, failedFiles: 1, completedFiles: 3 });
    expect(await claimBatch(db.pool, retry, 1)).toMatchObject([{ path: 'f3', attempts: 0 }]);
    await settleFiles(db.pool, retry, 1, [uploaded('f3')]);
    const last = await live();
    expect(last).toMatchObject({ completedFiles: 4, failedFiles: 1, sentFiles: 1, unchangedFiles: 3 });
    expect((await finishJob(db.pool, retry, { state: 'COMPLETED' })).counts).toEqual(last);
  });

  test('a finished job has nothing on its way', async () => {
    const ref = await aRun(db.pool, 'a');
    await writeScan(db.pool, ref, wholeScan([scanned('x')]));
    await claimBatch(db.pool, ref, 1);
    const states = async () =>
      (await listFiles(db.pool, ref.job, { limit: 9 })).rows.map(({ state }) => state);
    expect(await states()).toEqual(['IN_PROGRESS']);
    await finishJob(db.pool, ref, { state: 'CANCELLED' });
    expect(await states()).toEqual(['PENDING']);
  });
});

describe('lists', () => {
  test('pages newest first, each row once, while others arrive and where times are equal', async () => {
    for (const id of 'abcdefg') await insertJob(db.pool, 'inst', newJob(id));
    await db.pool.query(`UPDATE upload_jobs SET created_at = '2026-01-01' WHERE id IN ('a', 'b', 'c', 'd')`);
    const seen: string[] = [];
    for (let cursor: string | undefined, page = 0; ; page += 1) {
      const { rows, next } = await listJobs(db.pool, { limit: 2, cursor });
      seen.push(...rows.map(({ id }) => id));
      await insertJob(db.pool, 'inst', newJob(`late-${page}`));
      if (next === undefined) break;
      cursor = next;
    }
    expect(seen).toEqual([...'gfedcba']);
  });

  test('filters', async () => {
    await insertJob(db.pool, 'inst', newJob('a'));
    const other = { ...definition, destination: { bucket: 'c', prefix: '' }, apiKey: 'k' };
    await insertJob(db.pool, 'inst', { ...newJob('b'), definition: other });
    await setMonitored(db.pool, 'b', true);
    await aRun(db.pool, 'a');
    const ids = async (ask: object) =>
      (await listJobs(db.pool, { limit: 9, ...ask })).rows.map(({ id }) => id);
    expect(await ids({ state: 'IN_PROGRESS' })).toEqual(['a']);
    expect(await ids({ bucket: 'c' })).toEqual(['b']);
    expect(await ids({ monitored: true })).toEqual(['b']);
    expect(await ids({ monitored: false })).toEqual(['a']);
    expect(await ids({ apiKey: 'k', bucket: 'b' })).toEqual([]);
    await expect(ids({ cursor: 'x' })).rejects.toMatchObject({ code: 'InvalidInput' });
    await expect(ids({ limit: 1001 })).rejects.toMatchObject({ code: 'InvalidInput' });
  });

  test('times of the monitor become part of the definition, and leave the rest alone', async () => {
    await insertJob(db.pool, 'inst', newJob('a'));
    const before = await job('a');
    await setMonitored(db.pool, 'a', true, { interval: 7, stability: 2 });
    await setMonitored(db.pool, 'a', true, { interval: 8 });
    await setMonitored(db.pool, 'a', false);
    const { definition: now, fingerprint, monitored } = await job('a');
    const monitor = { ...before.definition.monitor, interval: 8, stability: 2 };
    expect(now).toEqual({ ...before.definition, monitor });
    expect([fingerprint, monitored]).toEqual([before.fingerprint, false]);
  });

  test('the monitor leaves its time', async () => {
    const { job: no } = await aRun(db.pool, 'a');
    expect((await job('a')).checkedAt).toBeNull();
    await noteCheck(db.pool, no);
    expect((await job('a')).checkedAt).not.toBeNull();
  });
});

test('deleting takes every row, fences the run that is alive, and is done once', async () => {
  const ref = await aRun(db.pool, 'a');
  const other = await aRun(db.pool, 'b');
  await writeScan(db.pool, ref, wholeScan([scanned('x'), scanned('y')]));
  await writeScan(db.pool, other, wholeScan([scanned('x')]));
  expect(await deleteJob(db.pool, 'a')).toBe(true);
  expect(await deleteJob(db.pool, 'a')).toBe(false);
  await expect(settleFiles(db.pool, ref, 1, [uploaded('x')])).rejects.toMatchObject({
    code: 'AttemptFenced',
  });
  const { rows } = await db.pool.query('SELECT upload_job_id FROM files');
  expect(rows).toEqual([{ upload_job_id: String(other.job) }]);
  expect((await jobCounts(db.pool, [ref.job, other.job])).has(ref.job)).toBe(false);
});
