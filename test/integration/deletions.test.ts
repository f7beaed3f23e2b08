/** Objects of files that are gone, and of those that only seem to be: a real folder, catalog and bucket. */
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createCheckBucket } from '../../src/activities/bucket-check.js';
import { createDeleteGone, createLookAtDeletions } from '../../src/activities/deletions.js';
import { createUploadFiles } from '../../src/activities/files.js';
import { createScanFolder } from '../../src/activities/scan.js';
import { jobWorkflowId } from '../../src/core/ids.js';
import type { DeleteAnswer, DeletionLook, JobRef, ScanAnswer } from '../../src/core/job-steps.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { openJob } from '../../src/infra/catalog/jobs.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { createLimits, type Limits } from '../../src/infra/limits.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';
import { testBucket, type TestBucket } from '../helpers/buckets.js';
import { faults, startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { keysIn } from '../helpers/rig.js';
import { part } from '../helpers/stack.js';

let schema: TestSchema;
let proxy: FaultProxy;
let store: ObjectStore;
let limits: Limits;
let base: string;
let folder: string;
let bucket: TestBucket;
let id: string;
let definition: JobDefinition;
/** An hour ago, so that nothing counts as being written. */
const THEN = Math.floor(Date.now() / 1000) - 3600;

beforeAll(async () => {
  schema = await testSchema();
  await migrate(schema.pool);
});
afterAll(() => schema.drop());

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'longshore-deletions-')));
  folder = join(base, 'root', 'job');
  mkdirSync(folder, { recursive: true });
  proxy = await startFaultProxy(part('versitygw').endpoint);
  store = createObjectStore({
    ...part('versitygw'),
    endpoint: proxy.endpoint,
    maxConnections: 20,
    connectTimeoutMs: 2_000,
    socketTimeoutMs: 5_000,
  });
  limits = createLimits(schema.pool);
  bucket = await testBucket();
  id = randomUUID();
  definition = {
    source: { root: 'files', path: 'job' },
    sourceFolder: folder,
    destination: { bucket: bucket.name, prefix: 'to/' },
    filter: {},
    objects: {},
    monitor: { enabled: false },
    compare: 'mtime',
    verify: false,
    deletions: { maxShare: 0.5 },
  };
});
afterEach(async () => {
  await limits.close();
  store.close();
  await proxy.close();
  await rm(base, { recursive: true, force: true });
});

const deps = () => ({
  ...{ db: schema.pool, store, limits, roots: { files: join(base, 'root') }, defaults: {} },
});
const asActivity = <I, R>(activity: (input: I) => Promise<R>, input: I): Promise<R> =>
  new MockActivityEnvironment().run<[I], R, typeof activity>(activity, input);

function put(path: string): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, path);
  utimesSync(file, THEN, THEN);
}
const away = (path: string): void => renameSync(join(folder, path), join(base, path.replaceAll('/', '-')));
const back = (path: string): void => renameSync(join(base, path.replaceAll('/', '-')), join(folder, path));

async function begin(): Promise<JobRef> {
  const run = { id, mode: 'first' as const, workflowId: jobWorkflowId(id), runId: randomUUID() };
  const { job, generation } = await openJob(schema.pool, 'test', { ...run, definition, fingerprint: id });
  return { job, generation };
}
const scan = (ref: JobRef): Promise<ScanAnswer> =>
  asActivity(createScanFolder(deps()), { ...ref, budget: 1_000_000, quiet: 0 });
const look = (ref: JobRef): Promise<DeletionLook> => asActivity(createLookAtDeletions(deps()), ref);
const deleteGone = (ref: JobRef, budget = 1_000): Promise<DeleteAnswer> =>
  asActivity(createDeleteGone(deps()), { ...ref, budget });

/** Scanned and sent; what is gone is marked, and no more. */
async function transfer(): Promise<JobRef> {
  const ref = await begin();
  const { batches } = await scan(ref);
  for (let batch = 1; batch <= batches; batch++) {
    await asActivity(createUploadFiles(deps()), { ...ref, batch });
  }
  return ref;
}

async function keys(): Promise<string[]> {
  return (await keysIn(bucket)).map((key) => key.slice('to/'.length)).sort();
}

interface Row {
  path: string;
  state: string;
  gone: boolean;
}
async function rowsOf({ job }: JobRef): Promise<[string, string, boolean][]> {
  const { rows } = await schema.pool.query<Row>(
    'SELECT path, state, gone FROM files WHERE upload_job_id = $1 ORDER BY path',
    [job],
  );
  return rows.map(({ path, state, gone }) => [path, state, gone]);
}

/** Root may read everything. */
async function asSomebody<T>(work: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return work();
  process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe('deletions', () => {
  it('leave the object of a file that came back after the scan', async () => {
    for (const path of ['a', 'b/1', 'b/2', 'c']) put(path);
    await transfer();
    away('a');
    away('b/1');
    const ref = await transfer();
    back('a');
    expect(await look(ref)).toMatchObject({ gone: 2, tooMany: false });
    expect(await deleteGone(ref)).toEqual({ deleted: 1, done: true });
    expect(await keys()).toEqual(['a', 'b/2', 'c']);
    expect(await rowsOf(ref)).toEqual([
      ['a', 'UPLOADED', false],
      ['b/2', 'UPLOADED', false],
      ['c', 'UPLOADED', false],
    ]);
  });

  it('are no more too many once the files are back', async () => {
    for (const path of ['a', 'b', 'c', 'd']) put(path);
    await transfer();
    for (const path of ['a', 'b', 'c']) away(path);
    const ref = await transfer();
    expect(await look(ref)).toEqual({ gone: 3, share: 0.75, tooMany: true });
    for (const path of ['a', 'b']) back(path);
    expect(await look(ref)).toEqual({ gone: 1, share: 0.25, tooMany: false });
    back('c');
    expect(await deleteGone(ref)).toEqual({ deleted: 0, done: true });
    expect(await keys()).toEqual(['a', 'b', 'c', 'd']);
    expect((await rowsOf(ref)).filter(([, , gone]) => gone)).toEqual([]);
  });

  it('leave what a later run can no more look at, though an earlier one found it gone', async () => {
    for (const path of ['a', 'deep/1', 'deep/2', 'e']) put(path);
    chmodSync(base, 0o755);
    await transfer();
    away('deep/1');
    // Marked, and never deleted: as after a run that was blocked, and cancelled.
    const cancelled = await transfer();
    expect((await rowsOf(cancelled))[1]).toEqual(['deep/1', 'UPLOADED', true]);
    back('deep/1');
    chmodSync(join(folder, 'deep'), 0);
    const ref = await begin();
    await asSomebody(() => scan(ref));
    expect((await rowsOf(ref)).filter(([, , gone]) => gone)).toEqual([]);
    chmodSync(join(folder, 'deep'), 0o755);
  });

  it('leave what the worker may not look at when they are due', async () => {
    for (const path of ['a', 'deep/1', 'e']) put(path);
    chmodSync(base, 0o755);
    await transfer();
    away('deep/1');
    const ref = await transfer();
    chmodSync(join(folder, 'deep'), 0);
    expect(await asSomebody(() => deleteGone(ref))).toEqual({ deleted: 0, done: true });
    chmodSync(join(folder, 'deep'), 0o755);
    expect(await keys()).toEqual(['a', 'deep/1', 'e']);
    expect(await transfer().then(deleteGone)).toEqual({ deleted: 1, done: true });
    expect(await keys()).toEqual(['a', 'e']);
  });

  it('take the object of a file whose place a folder took, and the marker of a folder that is no more empty', async () => {
    definition = { ...definition, filter: { emptyFolders: true, exclude: ['*.log'] } };
    for (const path of ['a', 'b', 'c']) put(path);
    mkdirSync(join(folder, 'empty'));
    mkdirSync(join(folder, 'void'));
    await transfer();
    expect(await keys()).toEqual(['a', 'b', 'c', 'empty/', 'void/']);
    rmSync(join(folder, 'a'));
    put('a/1.log');
    put('empty/1');
    const ref = await transfer();
    expect(await deleteGone(ref)).toEqual({ deleted: 2, done: true });
    expect(await keys()).toEqual(['b', 'c', 'empty/1', 'void/']);
  });

  it.each(['denied', 'out of the root'])('leave what is behind a link that leads to %s', async (how) => {
    definition = { ...definition, filter: { symlinks: 'follow' }, deletions: { maxShare: 1 } };
    put('a');
    const shared = join(base, 'root', 'shared');
    mkdirSync(join(shared, 'in'), { recursive: true });
    writeFileSync(join(shared, 'in', 'x'), 'x');
    chmodSync(base, 0o755);
    symlinkSync('../shared/in', join(folder, 'link'));
    put('z');
    await transfer();
    expect(await keys()).toEqual(['a', 'link/x', 'z']);
    if (how === 'denied') chmodSync(shared, 0);
    else {
      unlinkSync(join(folder, 'link'));
      symlinkSync(tmpdir(), join(folder, 'link'));
    }
    const ref = await begin();
    expect(await asSomebody(() => scan(ref))).toMatchObject({ gone: 0, pending: 0 });
    expect(await asSomebody(() => deleteGone(ref))).toEqual({ deleted: 0, done: true });
    chmodSync(shared, 0o755);
    expect(await keys()).toEqual(['a', 'link/x', 'z']);
  });

  it('that were begun and not written down have a file sent again when it comes back', async () => {
    for (const path of ['a', 'b', 'c']) put(path);
    await transfer();
    away('a');
    const ref = await transfer();
    // The object is deleted, and the answer lost with the worker.
    proxy.fault({ op: 'DeleteObjects' }, faults.status(403, 'AccessDenied'));
    await expect(deleteGone(ref)).rejects.toMatchObject({ code: 'AccessDenied' });
    back('a');
    expect(await deleteGone(ref)).toEqual({ deleted: 0, done: true });
    expect((await rowsOf(ref))[0]).toEqual(['a', 'PENDING', false]);
    const live = new AbortController().signal;
    await store.deleteObject({ bucket: bucket.name, key: 'to/a' }, live);
    await transfer();
    expect(await keys()).toEqual(['a', 'b', 'c']);
  });
});

describe('checkBucket', () => {
  it('answers what it took back also when the attempt that did so died', async () => {
    for (const path of ['a', 'b', 'c']) put(path);
    const ref = await transfer();
    const live = new AbortController().signal;
    await store.deleteObject({ bucket: bucket.name, key: 'to/b' }, live);
    const check = (): Promise<{ again: number }> => asActivity(createCheckBucket(deps()), ref);
    expect(await check()).toEqual({ again: 1 });
    // A new attempt, without what the first one told in its heartbeats.
    expect(await check()).toEqual({ again: 1 });
  });
});
