/** Upload jobs whole: a folder, a worker, an S3 server, the catalog and Temporal. */
import { randomUUID } from 'node:crypto';
import { appendFile, mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineJob, type JobSpec } from '../../src/client/job-spec.js';
import type { StartedJob } from '../../src/client/jobs.js';
import { jobWorkflowId, monitorScheduleId } from '../../src/core/ids.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { MiB } from '../../src/core/limits.js';
import { listFiles } from '../../src/infra/catalog/files.js';
import { getJob } from '../../src/infra/catalog/jobs.js';
import { createPool } from '../../src/infra/catalog/pool.js';
import type { TestBucket } from '../helpers/buckets.js';
import { keysIn, objectSha256, sha256Of, startRig, type Rig } from '../helpers/rig.js';
import { forgetWorkflow } from '../helpers/temporal.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;
let db: ReturnType<typeof createPool>;

beforeAll(async () => {
  rig = await startRig();
  db = createPool(rig.config.postgresUrl ?? '');
});
afterAll(async () => {
  await db.end();
  await rig.close();
});

async function folderOf(files: Record<string, string>): Promise<string> {
  const folder = join(rig.folder, randomUUID());
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(folder, path, '..'), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

function definition(folder: string, bucket: TestBucket, change: Partial<JobSpec> = {}): JobDefinition {
  const { roots } = rig.config;
  const destination = `s3://${bucket.name}/in`;
  return defineJob({ folder, destination, ...change }, { roots, cwd: rig.folder });
}

const start = (asked: JobDefinition, id: string = randomUUID()): Promise<StartedJob> =>
  rig.client.jobs.startJob({ id, definition: asked, db });

describe('a job', () => {
  it('sends 50 small files and a large one, and says so everywhere', async () => {
    const small = Object.fromEntries(
      Array.from({ length: 50 }, (_, index) => [`sub ${index % 3}/f${index}`, `text of ${index}`]),
    );
    const folder = await folderOf(small);
    const big = await rig.file(70 * MiB, join(folder.slice(rig.folder.length + 1), 'big.bin'));
    const bucket = await rig.bucket();
    const { id, fresh } = await start(definition(folder, bucket));
    expect(fresh).toBe(true);
    const result = await rig.client.jobs.result(id);
    expect(result).toMatchObject({
      state: 'COMPLETED',
      totalFiles: 51,
      completedFiles: 51,
      failedFiles: 0,
      sentFiles: 51,
    });
    expect((await keysIn(bucket)).toSorted()).toEqual(
      [...Object.keys(small), 'big.bin'].map((path) => `in/${path}`).toSorted(),
    );
    expect(await objectSha256(bucket, 'in/big.bin')).toBe(big.sha256);
    expect(await objectSha256(bucket, 'in/sub 1/f1')).toBe(await sha256Of(join(folder, 'sub 1/f1')));
    const row = await getJob(db, id);
    expect(row).toMatchObject({ state: 'COMPLETED', phase: 'done', generation: 1, monitored: false });
    expect(await rig.client.jobs.viewJob(id)).toMatchObject({
      state: 'COMPLETED',
      phase: 'done',
      failure: undefined,
    });
    const { rows } = await listFiles(db, row?.no ?? 0, { limit: 100 });
    expect(rows.map(({ state }) => state)).toEqual(Array(51).fill('UPLOADED'));
  });

  it('sends with the next run only what changed, and deletes what is gone when it is asked to', async () => {
    const folder = await folderOf({ a: 'a', b: 'b', c: 'c' });
    const bucket = await rig.bucket();
    const { id } = await start(definition(folder, bucket, { deletions: { maxShare: 0.5 } }));
    await rig.client.jobs.result(id);
    await appendFile(join(folder, 'b'), 'more');
    await rm(join(folder, 'c'));
    const { runId, fresh } = await rig.client.jobs.runAgain(id, 'sync', db);
    expect(fresh).toBe(true);
    expect(await rig.client.jobs.result(id, runId)).toMatchObject({
      ...{ sentFiles: 1, unchangedFiles: 1, deletedFiles: 1, totalFiles: 2, generation: 2 },
    });
    expect((await keysIn(bucket)).toSorted()).toEqual(['in/a', 'in/b']);
  });

  it('waits for a word before it deletes more than its guard lets through', async () => {
    const folder = await folderOf({ a: 'a', b: 'b', c: 'c' });
    const bucket = await rig.bucket();
    const { id } = await start(definition(folder, bucket, { deletions: { maxShare: 0.5 } }));
    await rig.client.jobs.result(id);
    await rm(join(folder, 'b'));
    await rm(join(folder, 'c'));
    const { runId } = await rig.client.jobs.runAgain(id, 'sync', db);
    await eventually(async () => (await getJob(db, id))?.state === 'BLOCKED', { timeout: 20_000 });
    expect((await rig.client.jobs.viewJob(id)).failure).toMatchObject({ code: 'TooManyDeletions' });
    expect(await keysIn(bucket)).toHaveLength(3);
    await rig.client.jobs.approve(id);
    expect(await rig.client.jobs.result(id, runId)).toMatchObject({ deletedFiles: 2 });
    expect(await keysIn(bucket)).toEqual(['in/a']);
  });

  it('sends again what the bucket lacks when it is to verify', async () => {
    const folder = await folderOf({ a: 'a', b: 'b' });
    const bucket = await rig.bucket();
    const asked = definition(folder, bucket, { verify: true });
    const { id } = await start(asked);
    await rig.client.jobs.result(id);
    const { DeleteObjectCommand } = await import('@aws-sdk/client-s3');
    await bucket.client.send(new DeleteObjectCommand({ Bucket: bucket.name, Key: 'in/a' }));
    const { runId } = await rig.client.jobs.runAgain(id, 'sync', db);
    expect(await rig.client.jobs.result(id, runId)).toMatchObject({ completedFiles: 2, sentFiles: 1 });
    expect((await keysIn(bucket)).toSorted()).toEqual(['in/a', 'in/b']);
  });

  it('says of a dry run what would go, and sends nothing', async () => {
    const folder = await folderOf({ a: 'a', b: 'b' });
    const bucket = await rig.bucket();
    const { id } = await start(definition(folder, bucket, { dryRun: true }));
    expect(await rig.client.jobs.result(id)).toMatchObject({ totalFiles: 2, sentFiles: 0 });
    expect(await keysIn(bucket)).toEqual([]);
  });
});

describe('the id of a job', () => {
  it('is one job for 100 starts at once', async () => {
    const folder = await folderOf({ a: 'a' });
    const bucket = await rig.bucket();
    const id = randomUUID();
    const asked = definition(folder, bucket);
    const started = await Promise.all(Array.from({ length: 100 }, () => start(asked, id)));
    expect(new Set(started.map(({ runId }) => runId)).size).toBe(1);
    expect(started.filter(({ fresh }) => fresh)).toHaveLength(1);
    await rig.client.jobs.result(id);
    expect((await getJob(db, id))?.generation).toBe(1);
    const again = await start(asked, id);
    expect(again).toMatchObject({ runId: started[0]?.runId, fresh: false });
  });

  it('belongs to one definition, until the job is deleted', async () => {
    const folder = await folderOf({ a: 'a' });
    const bucket = await rig.bucket();
    const { id } = await start(definition(folder, bucket));
    await rig.client.jobs.result(id);
    const other = definition(folder, bucket, { destination: `s3://${bucket.name}/elsewhere` });
    await expect(start(other, id)).rejects.toMatchObject({ code: 'Conflict' });
    await expect(rig.client.jobs.startJob({ id, definition: other })).rejects.toMatchObject({
      code: 'Conflict',
    });
    expect(await rig.client.jobs.deleteJob(id, db)).toBe(true);
    expect(await getJob(db, id)).toBeUndefined();
    expect(await start(other, id)).toMatchObject({ fresh: true });
    await rig.client.jobs.result(id);
    expect((await keysIn(bucket)).toSorted()).toEqual(['elsewhere/a', 'in/a']);
  });

  it('is known from the catalog when Temporal has forgotten it', async () => {
    const folder = await folderOf({ a: 'a' });
    const bucket = await rig.bucket();
    const asked = definition(folder, bucket);
    const { id, runId } = await start(asked);
    await rig.client.jobs.result(id);
    await forgetWorkflow(rig.temporal.client, jobWorkflowId(id));
    expect(await start(asked, id)).toMatchObject({ runId, fresh: false });
    await expect(rig.client.jobs.viewJob(id)).rejects.toMatchObject({ code: 'NotFound' });
    const { fresh } = await rig.client.jobs.runAgain(id, 'sync', db);
    expect(fresh).toBe(true);
    expect(await rig.client.jobs.result(id)).toMatchObject({ unchangedFiles: 1, sentFiles: 0 });
  });
});

describe('a monitored job', () => {
  it('sends what comes later, can be paused, and leaves no schedule when it is deleted', async () => {
    const folder = await folderOf({ a: 'a' });
    const bucket = await rig.bucket();
    const monitor = { enabled: true, interval: 1, stability: 1 };
    const { id } = await start(definition(folder, bucket, { monitor }));
    await rig.client.jobs.result(id);
    const schedule = rig.temporal.client.schedule.getHandle(monitorScheduleId(id));
    expect((await schedule.describe()).policies).toMatchObject({ overlap: 'SKIP', catchupWindow: 120_000 });
    await writeFile(join(folder, 'b'), 'b');
    await eventually(async () => (await keysIn(bucket)).includes('in/b'), {
      timeout: 60_000,
      what: 'b in S3',
    });
    await eventually(async () => (await getJob(db, id))?.state === 'COMPLETED', { timeout: 20_000 });
    const { checkedAt } = (await getJob(db, id)) ?? {};
    expect(checkedAt).not.toBeNull();
    await rig.client.jobs.pause(id);
    expect((await schedule.describe()).state.paused).toBe(true);
    await rig.client.jobs.resume(id);
    expect((await schedule.describe()).state.paused).toBe(false);
    await rig.client.jobs.setMonitor(id, 7, db);
    await rig.client.jobs.setMonitor(id, 7, db);
    expect((await schedule.describe()).spec.intervals).toMatchObject([{ every: 7_000 }]);
    expect(await rig.client.jobs.deleteJob(id, db)).toBe(true);
    await expect(schedule.describe()).rejects.toThrow(/not found/i);
  });

  it('never sends a file half that is being written', async () => {
    const folder = await folderOf({ a: 'a' });
    const bucket = await rig.bucket();
    const monitor = { enabled: true, interval: 1, stability: 2 };
    const { id } = await start(definition(folder, bucket, { monitor }));
    await rig.client.jobs.result(id);
    const growing = join(folder, 'growing');
    for (let second = 0; second < 4; second++) {
      await appendFile(growing, 'x'.repeat(1000));
      await eventually(async () => (await keysIn(bucket)).length === 1, { timeout: 100 });
      const until = Date.now() + 1_000;
      await eventually(() => Date.now() > until);
    }
    await eventually(async () => (await keysIn(bucket)).includes('in/growing'), { timeout: 60_000 });
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: 'in/growing' }));
    expect(head.ContentLength).toBe(4000);
    await rig.client.jobs.deleteJob(id, db);
  });

  it('makes nothing of a file whose time alone is old', async () => {
    const folder = await folderOf({ a: 'a' });
    await utimes(join(folder, 'a'), 1, 1);
    const bucket = await rig.bucket();
    const { id } = await start(definition(folder, bucket));
    expect(await rig.client.jobs.result(id)).toMatchObject({ sentFiles: 1 });
  });
});
