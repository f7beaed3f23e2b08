/** A real folder, scanned into a real PostgreSQL. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { crc32 } from '@node-rs/crc32';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareFolder } from '../../src/activities/compare.js';
import { crcToBase64 } from '../../src/activities/ledger.js';
import { Manifest } from '../../src/activities/manifest.js';
import { openJobTree } from '../../src/activities/scan-rules.js';
import { createCheckFolder, createScanFolder } from '../../src/activities/scan.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import type { CheckAnswer, JobRef, ScanAnswer } from '../../src/core/job-steps.js';
import { claimBatch, settleFiles, endBatch } from '../../src/infra/catalog/files.js';
import { openJob } from '../../src/infra/catalog/jobs.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { scanProgress } from '../../src/infra/catalog/scans.js';
import { definition as plain, uploaded } from '../helpers/catalog-jobs.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
let base: string;
let folder: string;
let run: number;
let definition: JobDefinition;

beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  base = await realpath(await mkdtemp(join(tmpdir(), 'scan-')));
  folder = join(base, 'root', 'data');
  mkdirSync(folder, { recursive: true });
  run = 0;
  definition = { ...plain, monitor: { enabled: true, stability: 5 } };
});
afterEach(async () => {
  execFileSync('rm', ['-rf', base]);
  await db.drop();
});

/** An hour ago, so that nothing counts as being written. */
const THEN = Math.floor(Date.now() / 1000) - 3600;

function put(path: string, text = 'x', at = THEN): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  utimesSync(file, at, at);
}

const deps = () => ({ db: db.pool, roots: { host: join(base, 'root') } });
const environment = (): MockActivityEnvironment => new MockActivityEnvironment();

async function begin(mode: 'first' | 'sync' = run === 0 ? 'first' : 'sync'): Promise<JobRef> {
  const { job, generation } = await openJob(db.pool, 'inst', {
    ...{ id: 'j', mode, workflowId: 'job/j', runId: `run-${++run}`, fingerprint: 'f' },
    ...(mode === 'first' ? { definition } : {}),
  });
  return { job, generation };
}

const asActivity = <I, R>(activity: (input: I) => Promise<R>, input: I, env = environment()): Promise<R> =>
  env.run<[I], R, typeof activity>(activity, input);

const slice = (ref: JobRef, budget = 1_000_000, quiet = 0): Promise<ScanAnswer> =>
  asActivity(createScanFolder(deps()), { ...ref, budget, quiet });

/** A whole run: scanned, and everything pending said to be sent. */
async function runOnce(quiet = 0): Promise<{ answer: ScanAnswer; sent: string[] }> {
  const ref = await begin();
  const answer = await slice(ref, undefined, quiet);
  return { answer, sent: await sendAll(ref, answer.batches) };
}

async function sendAll(ref: JobRef, batches: number): Promise<string[]> {
  const sent: string[] = [];
  for (let batch = 1; batch <= batches; batch++) {
    const files = await claimBatch(db.pool, ref, batch);
    const outcomes = files.map(({ path, size, mtimeNs }) => {
      const bytes = path.endsWith('/') ? '' : readFileSync(join(folder, path));
      return uploaded(path, {
        size,
        mtimeNs: mtimeNs ?? '0',
        checksum: `crc32:${crcToBase64(crc32(bytes))}`,
      });
    });
    await settleFiles(db.pool, ref, batch, outcomes);
    await endBatch(db.pool, ref, batch);
    sent.push(...files.map(({ path }) => path));
  }
  return sent.sort();
}

interface Row {
  path: string;
  state: string;
  gone: boolean;
  failure_code: string | null;
  generation: number;
}
const rows = async (): Promise<Row[]> =>
  (await db.pool.query<Row>('SELECT path, state, gone, failure_code, generation FROM files ORDER BY path'))
    .rows;
const check = ({ job }: JobRef): Promise<CheckAnswer> =>
  asActivity(createCheckFolder({ ...deps(), stability: 5 }), { id: 'j', job });

describe('scanFolder', () => {
  it('finds what is to be sent, in batches that grow', async () => {
    for (let index = 0; index < 300; index++) put(`d${index % 7}/${index}`);
    const ref = await begin();
    const answer = await slice(ref);
    expect(answer).toEqual({ done: true, batches: 3, large: 0, gone: 0, pending: 300 });
    const batches = await db.pool.query('SELECT files FROM upload_batches ORDER BY batch');
    expect(batches.rows).toEqual([{ files: 64 }, { files: 128 }, { files: 108 }]);
    expect(await sendAll(ref, answer.batches)).toHaveLength(300);
    expect(await slice(ref)).toEqual(answer);
  });

  it('goes on slice by slice, with every file in one batch', async () => {
    for (let index = 0; index < 500; index++) put(`d${index % 7}/${index}`);
    const ref = await begin();
    let answer = await slice(ref, 90);
    const seen = [answer.pending];
    while (!answer.done) seen.push((answer = await slice(ref, 90)).pending);
    expect(seen.length).toBeGreaterThan(5);
    expect(seen.at(-1)).toBe(500);
    expect(await sendAll(ref, answer.batches)).toHaveLength(500);
  });

  it('keeps large files out of the batches', async () => {
    put('small');
    put('big');
    execFileSync('truncate', ['-s', String(64 * 1024 * 1024 + 1), join(folder, 'big')]);
    put('just');
    execFileSync('truncate', ['-s', String(64 * 1024 * 1024), join(folder, 'just')]);
    expect(await slice(await begin())).toMatchObject({ large: 1, batches: 2, pending: 3 });
    const large = await db.pool.query('SELECT path, batch FROM files WHERE large');
    expect(large.rows).toEqual([{ path: 'big', batch: null }]);
  });

  it('sends only what changed, and marks what is gone', async () => {
    for (const name of ['a', 'b/1', 'b/2', 'c', 'é', '😀', 'new\nline']) put(name);
    expect((await runOnce()).sent).toHaveLength(7);
    expect(await runOnce()).toEqual({
      answer: { done: true, batches: 0, large: 0, gone: 0, pending: 0 },
      sent: [],
    });
    put('a', 'other');
    put('c', 'y', THEN + 1);
    put('b/15');
    rmSync(join(folder, 'b/2'));
    rmSync(join(folder, '😀'));
    expect(await runOnce()).toMatchObject({ answer: { gone: 2, pending: 3 }, sent: ['a', 'b/15', 'c'] });
    expect((await rows()).filter(({ gone }) => gone).map(({ path }) => path)).toEqual(['b/2', '😀']);
    const before = await rows();
    expect(await runOnce()).toMatchObject({ answer: { gone: 0, pending: 0 } });
    expect(await rows()).toEqual(before);
  });

  it('takes back what comes back as it was, and sends it where its object may be deleted', async () => {
    put('a');
    put('b');
    await runOnce();
    renameSync(join(folder, 'a'), join(base, 'a'));
    expect((await runOnce()).answer.gone).toBe(1);
    renameSync(join(base, 'a'), join(folder, 'a'));
    expect(await runOnce()).toMatchObject({ answer: { pending: 0, gone: 0 } });
    expect((await rows()).map(({ state, gone }) => [state, gone])).toEqual([
      ['UPLOADED', false],
      ['UPLOADED', false],
    ]);
    await db.pool.query(
      `UPDATE upload_jobs SET definition = jsonb_set(definition, '{deletions}', '{"maxShare": 0.5}')`,
    );
    renameSync(join(folder, 'a'), join(base, 'a'));
    await runOnce();
    renameSync(join(base, 'a'), join(folder, 'a'));
    expect((await runOnce()).sent).toEqual(['a']);
  });

  it('compares checksums when asked', async () => {
    definition = { ...definition, compare: 'checksum' };
    put('a', 'same');
    put('b', 'same');
    await runOnce();
    expect((await runOnce()).sent).toEqual([]);
    put('b', 'diff');
    expect(lstatSync(join(folder, 'b')).size).toBe(4);
    expect((await runOnce()).sent).toEqual(['b']);
  });

  it('gives what cannot be sent a row of its own', async () => {
    definition = { ...definition, destination: { ...definition.destination, prefix: 'p'.repeat(1000) } };
    put('ok');
    put('n'.repeat(30));
    symlinkSync('ok', join(folder, 'link'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0x62, 0xff])]), 'x');
    expect((await runOnce()).sent).toEqual(['ok']);
    const expected = [
      { path: 'b\\xFF', state: 'FAILED', failure_code: 'SourceInvalid' },
      { path: 'fifo', state: 'SKIPPED', failure_code: 'Skipped' },
      { path: 'link', state: 'SKIPPED', failure_code: 'Skipped' },
      { path: 'n'.repeat(30), state: 'FAILED', failure_code: 'KeyTooLong' },
      { path: 'ok', state: 'UPLOADED', failure_code: null },
    ];
    const before = await rows();
    expect(before).toMatchObject(expected);
    expect((await runOnce()).answer.pending).toBe(0);
    expect(await rows()).toEqual(before);
    const { found } = await scanProgress(db.pool, { job: 1, generation: 2 });
    expect(found).toMatchObject({ failedFiles: 2, skippedFiles: 2, unchangedFiles: 1 });
  });

  it('tries again what failed or was left', async () => {
    put('a');
    put('b');
    const ref = await begin();
    await slice(ref);
    await claimBatch(db.pool, ref, 1);
    await settleFiles(db.pool, ref, 1, [
      uploaded('a', { state: 'FAILED', size: 1, failureCode: 'SourceDenied', failureReason: 'x' }),
    ]);
    expect((await runOnce()).sent).toEqual(['a', 'b']);
  });

  it('makes markers of empty folders', async () => {
    definition = { ...definition, filter: { emptyFolders: true } };
    mkdirSync(join(folder, 'e/f'), { recursive: true });
    put('e!');
    expect((await runOnce()).sent).toEqual(['e!', 'e/f/']);
    utimesSync(join(folder, 'e/f'), THEN, THEN);
    expect((await runOnce()).sent).toEqual([]);
    put('e/f/x');
    expect(await runOnce()).toMatchObject({ answer: { gone: 1 }, sent: ['e/f/x'] });
  });

  it('leaves alone what was not left alone long enough', async () => {
    put('a', 'x');
    put('b', 'x');
    await runOnce();
    const before = await rows();
    put('a', 'longer', Math.floor(Date.now() / 1000));
    put('new', 'x');
    // Its times are set back, but the file system knows when that was done.
    expect(await runOnce(60)).toMatchObject({ answer: { pending: 0, gone: 0 } });
    expect(await rows()).toEqual(before);
    expect((await runOnce(0)).sent).toEqual(['a', 'new']);
  });

  it('does not take a size that the filter leaves out for a file that is gone', async () => {
    definition = { ...definition, filter: { maxSize: 3 } };
    put('a', 'x');
    put('b', 'longer');
    await runOnce();
    put('a', 'longer');
    expect(await runOnce()).toMatchObject({ answer: { pending: 0, gone: 0 } });
    expect((await rows()).map(({ path }) => path)).toEqual(['a']);
  });
});

describe('a folder that cannot be read', () => {
  it('is no empty one: neither the root nor the folder itself', async () => {
    put('a');
    put('b');
    await runOnce();
    const before = await rows();
    renameSync(folder, join(base, 'away'));
    const ref = await begin();
    await expect(slice(ref)).rejects.toMatchObject({ code: 'RootUnavailable' });
    renameSync(join(base, 'root'), join(base, 'unmounted'));
    await expect(slice(ref)).rejects.toMatchObject({ code: 'RootUnavailable' });
    expect(await rows()).toEqual(before);
    await expect(check(ref)).rejects.toMatchObject({ code: 'RootUnavailable' });
  });

  it('that never was is not found', async () => {
    rmSync(folder, { recursive: true });
    await expect(slice(await begin())).rejects.toMatchObject({ code: 'SourceNotFound' });
  });
});

describe('a folder in it that cannot be read', () => {
  // Root may read everything.
  const asSomebody = async <T>(work: () => Promise<T>): Promise<T> => {
    if (process.getuid?.() !== 0) return work();
    process.seteuid?.(65_534);
    try {
      return await work();
    } finally {
      process.seteuid?.(0);
    }
  };

  it('is one failure, and what it held is not gone', async () => {
    for (const path of ['a', 'deep/1', 'deep/2/3', 'deep-4', 'e']) put(path);
    chmodSync(base, 0o755);
    await runOnce();
    chmodSync(join(folder, 'deep'), 0);
    const ref = await begin();
    expect(await asSomebody(() => check(ref))).toEqual({ changed: true, over: false });
    expect(await asSomebody(() => slice(ref))).toMatchObject({ done: true, gone: 0, pending: 0 });
    const closed = (await rows()).map(({ path, state, gone }) => [path, state, gone]);
    expect(closed).toEqual([
      ['a', 'UPLOADED', false],
      ['deep-4', 'UPLOADED', false],
      ['deep/', 'FAILED', false],
      ['deep/1', 'UPLOADED', false],
      ['deep/2/3', 'UPLOADED', false],
      ['e', 'UPLOADED', false],
    ]);
    expect(await asSomebody(() => check(ref))).toEqual({ changed: false, over: false });
    // Names that may be read, and nothing about them, are no better.
    chmodSync(join(folder, 'deep'), 0o444);
    expect(await asSomebody(async () => slice(await begin()))).toMatchObject({ gone: 0, pending: 0 });
    chmodSync(join(folder, 'deep'), 0o755);
    expect(await runOnce()).toMatchObject({ answer: { gone: 1, pending: 0 } });
    expect((await rows()).map(({ path }) => path)).not.toContain('deep/');
  });
});

/** The pool, with another way to begin a transaction. */
function withTransactions(pool: Pool, connect: () => ReturnType<Pool['connect']>): Pool {
  return { connect, query: (statement: never) => pool.query(statement) } as unknown as Pool;
}

describe('names that the filter leaves out', () => {
  it('keep nothing else in the process waiting, not even the word to stop', async () => {
    for (let index = 0; index < 5_000; index++) writeFileSync(join(folder, `${index}.log`), '');
    const { job } = await begin();
    const manifest = new Manifest(db.pool, job, null);
    const filtered = { ...definition, filter: { include: ['*.txt'] } };
    const tree = await openJobTree(deps().roots, filtered, { after: null, now: Date.now() }, manifest);
    const stop = new AbortController();
    const walk = tree.walk.bind(tree);
    tree.walk = function* () {
      setImmediate(() => stop.abort());
      yield* walk();
    };
    const looked = { met: () => {}, missed: () => {}, hidden: () => {}, told: () => true };
    await expect(compareFolder({ tree, manifest, after: null }, looked, stop.signal)).rejects.toThrow(
      'aborted',
    );
  });
});

describe('an attempt', () => {
  it('goes on where the last one was stopped, and nothing is twice or missing', async () => {
    for (let index = 0; index < 40; index++) mkdirSync(join(folder, `d${index}`));
    for (let index = 0; index < 12_000; index++) writeFileSync(join(folder, `d${index % 40}/${index}`), '');
    const ref = await begin();
    const env = environment();
    const pool = db.another();
    const connect = pool.connect.bind(pool) as () => ReturnType<typeof pool.connect>;
    // The first chunk is on its way, the second is being looked for.
    const tellOnce = (): ReturnType<typeof connect> => {
      env.cancel('CANCELLED');
      return connect();
    };
    const scan = createScanFolder({ ...deps(), db: withTransactions(pool, tellOnce) });
    const stopped = asActivity(scan, { ...ref, budget: 1_000_000, quiet: 0 }, env);
    await expect(stopped).rejects.toThrow('CANCELLED');
    const half = await scanProgress(db.pool, ref);
    expect(half.found.pendingFiles).toBe(4_000);
    const answer = await slice(ref);
    expect(answer).toMatchObject({ done: true, pending: 12_000 });
    const sums = await db.pool.query('SELECT sum(files)::integer AS files FROM upload_batches');
    expect(sums.rows).toEqual([{ files: 12_000 }]);
    expect(await rows()).toHaveLength(12_000);
  });

  it('of an older run is fenced', async () => {
    put('a');
    const old = await begin();
    await begin();
    await expect(slice(old)).rejects.toMatchObject({ code: 'AttemptFenced' });
    expect(await rows()).toEqual([]);
  });
});

describe('checkFolder', () => {
  it('tells whether there is anything to send', async () => {
    put('a');
    put('sub/b');
    symlinkSync('a', join(folder, 'link'));
    const ref = await begin();
    await sendAll(ref, (await slice(ref)).batches);
    expect(await check(ref)).toEqual({ changed: false, over: false });
    rmSync(join(folder, 'sub/b'));
    expect(await check(ref)).toEqual({ changed: true, over: false });
    await runOnce();
    expect(await check(ref)).toEqual({ changed: false, over: false });
    put('new');
    expect(await check(ref)).toEqual({ changed: false, over: false });
    await db.pool.query(
      `UPDATE upload_jobs SET definition = jsonb_set(definition, '{monitor,stability}', '0')`,
    );
    expect(await check(ref)).toEqual({ changed: true, over: false });
    const { rows: jobs } = await db.pool.query('SELECT checked_at IS NOT NULL AS checked FROM upload_jobs');
    expect(jobs).toEqual([{ checked: true }]);
  });

  it('is over when nobody asks any more', async () => {
    const ref = await begin();
    await db.pool.query('UPDATE upload_jobs SET monitored = false');
    expect(await check(ref)).toEqual({ changed: false, over: true });
    await db.pool.query('DELETE FROM upload_jobs');
    expect(await check(ref)).toEqual({ changed: false, over: true });
  });
});
