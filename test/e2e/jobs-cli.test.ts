/** Upload jobs on the command line, against the real stack, as people and scripts use them. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { eventually } from '../helpers/wait.js';
import { Harness, type Line, type Run } from '../integration/cli-harness.js';

let longshore: Harness;
let folder: string;
let id: string;

beforeAll(async () => {
  longshore = await Harness.start();
}, 180_000);

afterAll(async () => {
  await longshore?.stop();
}, 60_000);

/** Forty small files in four folders, each test its own. */
beforeEach(async () => {
  id = `job-${randomUUID().slice(0, 8)}`;
  folder = join(longshore.dataDir, '..', id);
  for (let index = 0; index < 40; index++)
    await write(`d${index % 4}/f${index}.bin`, randomBytes(500 + index));
});

async function write(path: string, content: Buffer | string): Promise<void> {
  await mkdir(join(folder, path, '..'), { recursive: true });
  await writeFile(join(folder, path), content);
}

const to = (): string => `s3://uploads/${id}`;
const upload = (...more: string[]) => longshore.call('upload', folder, to(), '--id', id, '--json', ...more);

/** Path → content, of the folder and of what the S3 server keeps. */
async function treeOf(at: string): Promise<Map<string, string>> {
  const names = await readdir(at, { recursive: true });
  const tree = new Map<string, string>();
  for (const name of names.sort()) {
    if ((await stat(join(at, name))).isFile()) tree.set(name, await readFile(join(at, name), 'base64'));
  }
  return tree;
}

async function bucketIsFolder(): Promise<void> {
  expect(await treeOf(longshore.object(id))).toEqual(await treeOf(folder));
}

function counts(run: Run): Line {
  const { files, completed, sent, unchanged, skipped, failed, deleted } = run.last;
  return { files, completed, sent, unchanged, skipped, failed, deleted };
}

/** A job that takes its time: `rate` bytes a second for 40 files of 8 KiB. */
async function slowJob(rate: string): Promise<Run> {
  for (let index = 0; index < 40; index++) await write(`slow/f${index}.bin`, randomBytes(8192));
  const run = longshore.run('upload', folder, to(), '--id', id, '--json', '--bandwidth', rate);
  await run.until(({ lines }) => lines.some(({ sent }) => Number(sent) > 0), 60_000);
  return run;
}

describe('without a worker', () => {
  test('a job warns, is left by Ctrl-C, is listed, and a worker finishes it', async () => {
    const run = longshore.run('upload', folder, to(), '--id', id);
    await run.until(({ stderr }) => stderr.includes('no worker takes tasks from the queue orchestration'));
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(EXIT.detached);
    expect(run.stderr).toContain(`longshore cancel ${id}`);
    const jobs = await longshore.call('jobs', '--json', '--state', 'pending');
    expect(jobs.last).toMatchObject({ jobs: [{ id, state: 'PENDING', from: 'catalog' }], nextCursor: null });

    await longshore.startWorker();
    const watch = await longshore.call('watch', id, '--json');
    expect(watch.code).toBe(EXIT.ok);
    expect(counts(watch)).toMatchObject({ files: 40, completed: 40, sent: 40, failed: 0 });
    await bucketIsFolder();
  });
});

describe('with a worker', () => {
  beforeAll(() => longshore.startWorker(), 60_000);

  test('a folder arrives, and the same command again sends what changed', async () => {
    const command = ['upload', folder, to(), '--json'] as const;
    const first = await longshore.call(...command);
    expect(first.code).toBe(EXIT.ok);
    const made = String(first.last['id']);
    expect(made).toMatch(new RegExp(`^${id}-[0-9a-f]{8}$`));
    expect(first.lines[0]).toMatchObject({
      type: 'started',
      id: made,
      how: 'first',
      destination: `${to()}/`,
    });
    expect(Object.keys(first.last)).toEqual([
      ...['type', 'id', 'state', 'generation', 'files', 'bytes', 'completed', 'completedBytes', 'sent'],
      ...['sentBytes', 'unchanged', 'skipped', 'failed', 'deleted', 'failures', 'seconds', 'webUi'],
    ]);
    expect(counts(first)).toMatchObject({ files: 40, completed: 40, sent: 40, unchanged: 0 });
    await bucketIsFolder();

    await write('d0/f0.bin', 'changed');
    await write('new.txt', 'new');
    const plan = await longshore.call('upload', folder, to(), '--dry-run', '--json');
    expect(plan.code).toBe(EXIT.ok);
    expect(plan.lines.slice(0, -1)).toEqual([
      { type: 'file', path: 'd0/f0.bin', size: 7 },
      { type: 'file', path: 'new.txt', size: 3 },
    ]);
    expect(plan.last).toMatchObject({
      type: 'dry-run',
      id: made,
      files: 2,
      bytes: 10,
      unchanged: 39,
      gone: 0,
    });

    const second = await longshore.call(...command);
    expect(second.lines[0]).toMatchObject({ how: 'sync', id: made });
    expect(counts(second)).toMatchObject({ files: 41, completed: 41, sent: 2, unchanged: 39 });
    await bucketIsFolder();

    const other = await longshore.call(...command, '--no-hidden');
    expect(other.code).toBe(EXIT.conflict);
    expect(other.last).toMatchObject({ error: { code: 'Conflict' } });
  });

  test('a dry run of a folder that only workers read says the same, and leaves no job', async () => {
    // Whole milliseconds: what `utimes` can give back.
    const mtime = new Date('2026-01-02T03:04:05Z');
    await utimes(join(folder, 'd2', 'f2.bin'), mtime, mtime);
    await upload();
    await write('d0/f0.bin', 'changed');
    await rm(join(folder, 'd1', 'f1.bin'));
    const here = await upload('--dry-run');
    expect(here.last).toMatchObject({ files: 1, bytes: 7, unchanged: 38, gone: 1 });
    await write('d2/f2.bin', randomBytes(502));
    await utimes(join(folder, 'd2', 'f2.bin'), mtime, mtime);
    expect((await upload('--dry-run')).last).toMatchObject({ files: 1, unchanged: 38 });
    expect((await upload('--dry-run', '--checksum')).last).toMatchObject({ files: 2, unchanged: 37 });
    // The root has another place here, where nothing is: only the worker finds the folder.
    longshore.env = { LONGSHORE_ROOTS: 'host=/no/such/place' };
    const there = await longshore
      .call('upload', `/no/such/place${folder}`, to(), '--id', id, '--json', '--dry-run')
      .finally(() => (longshore.env = {}));
    const withoutTime = ({ lines }: Run) => lines.map(({ seconds: _, ...line }) => line);
    expect(withoutTime(there)).toEqual(withoutTime(here));
    const jobs = await longshore.call('jobs', '--json');
    const ids = (jobs.last['jobs'] as Line[]).map((job) => String(job['id']));
    expect(ids.filter((each) => each.includes('.dry-'))).toEqual([]);
  });

  test('files that cannot be sent are listed, and are no failure of the rest', async () => {
    await writeFile(Buffer.concat([Buffer.from(join(folder, 'bad-')), Buffer.from([0xff])]), 'x');
    await symlink('/etc/passwd', join(folder, 'link'));
    const run = await upload();
    expect(run.code).toBe(EXIT.partial);
    expect(run.last).toMatchObject({ state: 'COMPLETED', sent: 40, failed: 1, skipped: 1 });
    expect(run.last['failures']).toEqual([
      { path: 'bad-\\xFF', code: 'SourceInvalid', reason: expect.stringContaining('UTF-8') as unknown },
    ]);

    const shown = await longshore.call('upload', folder, to(), '--id', id);
    expect(shown.code).toBe(EXIT.partial);
    expect(shown.stderr).toContain('1 file failed:\n  bad-\\xFF: its name');
    expect(shown.stderr).toContain(`longshore files ${id} --state failed`);
    expect(shown.stdout).toContain('unchanged  40');

    const files = await longshore.call('files', id, '--state', 'skipped', '--json');
    expect(files.last).toMatchObject({
      id,
      files: [{ path: 'link', state: 'SKIPPED', key: null }],
      nextCursor: null,
    });
    const page = await longshore.call('files', id, '--state', 'uploaded', '--limit', '3', '--json');
    expect(page.last).toMatchObject({ files: [{ key: `${id}/d0/f0.bin`, size: 500, error: null }, {}, {}] });
    const cursor = String(page.last['nextCursor']);
    const rest = await longshore.call('files', id, '--state', 'uploaded', '--cursor', cursor, '--json');
    expect(rest.last['files']).toHaveLength(37);
    const retried = await longshore.call('retry', id, '--json');
    expect(retried.lines[0]).toMatchObject({ how: 'retry' });
    expect(retried.code).toBe(EXIT.partial);
  });

  test('a limit holds on the running job, which is paused, resumed and cancelled by its id', async () => {
    const run = await slowJob('20KiB');
    const paused = await longshore.call('pause', id, '--json');
    expect(paused.last).toMatchObject({ id, op: 'pause', state: 'PAUSED', arrived: true });
    const joined = longshore.run('upload', folder, to(), '--id', id, '--json');
    await joined.until(({ lines }) => lines.some(({ state }) => state === 'PAUSED'));
    expect(joined.lines[0]).toMatchObject({ how: 'joined' });
    expect((await longshore.call('resume', id, '--json')).last).toMatchObject({
      op: 'resume',
      arrived: true,
    });
    const limit = await longshore.call('limit', id, '--bandwidth', '1KiB', '--json');
    expect(limit.last).toMatchObject({ id, bandwidth: 1024, concurrency: null });

    const cancelled = await longshore.call('cancel', `job/${id}`);
    expect([cancelled.code, cancelled.stdout]).toEqual([
      EXIT.ok,
      `Cancelled ${id}; what it had sent stays in the bucket, and nothing half-sent is left.\n`,
    ]);
    expect([await run.exited, await joined.exited]).toEqual([EXIT.cancelled, EXIT.cancelled]);
    expect(run.last).toMatchObject({ type: 'result', id, state: 'CANCELLED', error: { code: 'Cancelled' } });
    expect((await longshore.call('status', id, '--json')).last).toMatchObject({ id, state: 'CANCELLED' });

    // Without the limit the rest goes at once.
    await longshore.call('limit', id, '--bandwidth', 'none');
    expect((await upload()).code).toBe(EXIT.ok);
    await bucketIsFolder();
  });

  test('Ctrl-C pressed twice cancels', async () => {
    const run = await slowJob('10KiB');
    run.child.kill('SIGINT');
    await run.until(({ stderr }) => stderr.includes('Press Ctrl-C again'));
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(EXIT.cancelled);
    expect(run.last).toMatchObject({ state: 'CANCELLED' });
  });

  test('sync sees changes, asks before it deletes much, and ends with unmonitor', async () => {
    await upload('--delete');
    const times = ['--interval', '1s', '--stability', '1s'];
    const sync = await longshore.call('sync', folder, to(), '--id', id, '--delete', '--json', ...times);
    expect(sync.code).toBe(EXIT.ok);
    expect(sync.lines[0]).toMatchObject({ how: 'sync' });
    await write('later.txt', 'later');
    // Less than a minute: the interval that was asked for is kept by the run that came with it.
    await eventually(() => readFile(longshore.object(`${id}/later.txt`), 'utf8'), { timeout: 30_000 });

    await rename(join(folder, 'd1'), `${folder}.d1`);
    await rename(join(folder, 'd2'), `${folder}.d2`);
    await rename(join(folder, 'd3'), `${folder}.d3`);
    const status = async (): Promise<Line> => (await longshore.call('status', id, '--json')).last;
    const blocked = await eventually(
      async () => {
        const now = await status();
        return now['state'] === 'BLOCKED' && now;
      },
      { timeout: 60_000, interval: 500 },
    );
    expect(blocked).toMatchObject({ error: { code: 'TooManyDeletions' }, monitored: true });
    expect((await treeOf(longshore.object(id))).size).toBe(41);
    const approved = await longshore.call('approve', id, '--json');
    expect(approved.last).toMatchObject({ id, op: 'approve', arrived: true });
    expect((await longshore.call('watch', id, '--json')).last).toMatchObject({ deleted: 30, failed: 0 });
    await bucketIsFolder();

    const ended = await longshore.call('unmonitor', id, '--json');
    expect(ended.last).toMatchObject({ id, monitored: false });
    expect(await status()).toMatchObject({ monitored: false });
  });

  test('an id of an upload and of a job is not guessed', async () => {
    await upload('--detach');
    await longshore.call('put', join(folder, 'd0', 'f0.bin'), `s3://uploads/${id}-one`, '--id', id);
    const plain = await longshore.call('status', id, '--json');
    expect(plain.code).toBe(EXIT.usage);
    expect(plain.last).toMatchObject({ error: { hint: `Say which: \`upload/${id}\` or \`job/${id}\`.` } });
    expect((await longshore.call('watch', `job/${id}`, '--json')).last).toMatchObject({
      type: 'result',
      files: 40,
    });
    expect((await longshore.call('status', `upload/${id}`, '--json')).last).toMatchObject({ size: 500 });
    expect((await longshore.call('pause', 'job/none', '--json')).last).toMatchObject({
      error: { code: 'NotFound' },
    });
  });

  test('a bucket that is not there fails the job with its reason', async () => {
    const run = await longshore.call('upload', folder, 's3://no-such-bucket-here/x', '--id', id, '--json');
    expect(run.code).toBe(EXIT.failed);
    expect(run.last).toMatchObject({ type: 'result', id, state: 'FAILED', error: { code: 'NoSuchBucket' } });
  });
});
