import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Io } from '../../src/client/cli/io.js';
import { oneOf, readId, readJobId } from '../../src/client/cli/job-find.js';
import { askedOf, limitsOf, madeJobId, type JobOptions } from '../../src/client/cli/job-options.js';
import { printJobFailed, printJobResult } from '../../src/client/cli/job-outcome.js';
import { JobDrawing, type JobLook } from '../../src/client/cli/job-progress.js';
import { runProgram } from '../../src/client/cli/program.js';
import { EXIT, LongshoreError } from '../../src/core/errors.js';
import type { JobCounts, JobResult } from '../../src/core/jobs.js';

const MiB = 1024 * 1024;
const given = (options: Partial<JobOptions>): JobOptions => ({ hidden: true, ...options });

function captured(json = false) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
  const io = new Io({
    ...{ stdout, stderr, env: {}, cwd: '/nowhere', entry: '/nowhere/cli.js', json },
    exit: () => {
      throw new Error('exit');
    },
  });
  return { io, out: () => text(stdout), err: () => text(stderr) };
}

async function longshore(...argv: string[]) {
  const { io, out, err } = captured(argv.includes('--json'));
  const env = { LONGSHORE_ROOTS: 'files=/nowhere' };
  const code = await runProgram(Object.assign(io, { env }), argv, '1.2.3');
  return { code, out: out(), err: err() };
}

describe('usage', () => {
  const upload = ['upload', '/nowhere/a', 's3://bucket/p'];
  test.each([
    [['upload', '/nowhere/a'], "missing required argument 'destination'"],
    [['upload', '/nowhere/a', 'bucket/p'], 's3://'],
    [['upload', '/elsewhere', 's3://bucket/p'], 'no root'],
    [[...upload, '--min-size', 'big'], '--min-size takes a size'],
    [[...upload, '--min-size', '2K', '--max-size', '1K'], '--min-size is larger'],
    [[...upload, '--max-age', 'old'], '--max-age takes a time'],
    [[...upload, '--min-age', '1500ms'], 'whole seconds'],
    [[...upload, '--max-delete', '10%'], 'without --delete'],
    [[...upload, '--delete', '--max-delete', '110%'], '--max-delete takes a share'],
    [[...upload, '--interval', '5s'], 'without --monitor'],
    [[...upload, '--bandwidth', '0'], '--bandwidth takes more than nothing'],
    [[...upload, '--concurrency', '0'], '--concurrency takes a whole number'],
    [[...upload, '--key-template', '{nonsense}'], '{nonsense}'],
    [[...upload, '--include', '/rooted'], 'cannot be used'],
    [[...upload, '--id', 'a/b'], 'id'],
    [[...upload, '--sse-kms', 'key', '--sse'], 'exclude each other'],
    [['jobs', '--state', 'UPLOADING'], '--state takes PENDING'],
    [['files', 'a', '--state', 'lost'], '--state takes PENDING'],
    [['files', 'upload/a'], 'is for jobs'],
    [['limit', 'a'], '--bandwidth, --concurrency or both'],
    [['limit', 'a', '--bandwidth', 'fast'], '--bandwidth takes a size'],
    [['retry', '../x'], 'id'],
    [['status', 'job/'], 'id'],
  ])('%j is refused before any work', async (argv, said) => {
    const answer = await longshore(...argv, '--data-dir', '/nowhere/.longshore');
    expect(answer.err).toContain(said);
    expect(answer).toMatchObject({ code: EXIT.usage, out: '' });
  });
});

describe('what is asked for', () => {
  test('is little by default', () => {
    expect(askedOf(given({}), false)).toEqual({
      ...{ filter: {}, objects: {}, monitor: { enabled: false }, compare: 'mtime', verify: false },
      ...{ deletions: undefined, keyTemplate: undefined },
    });
    expect(limitsOf(given({}))).toEqual({});
  });

  test('all of it arrives', () => {
    const all = given({
      ...{ include: ['**/*.jpg', 'a'], exclude: ['tmp/**'], hidden: false, minSize: '1K', maxSize: '1MiB' },
      ...{ minAge: '30', maxAge: '2d', followLinks: true, emptyFolders: true, keyTemplate: '{name}' },
      ...{ checksum: true, verify: true, delete: true, maxDelete: '10%', interval: '5m', stability: '2s' },
      ...{ contentType: 'a/b', cacheControl: 'no-store', metadata: ['a=b'], tag: ['c=d'], storageClass: 'X' },
      ...{ sseKms: 'key', bandwidth: '10MiB', concurrency: '7' },
    });
    expect(askedOf(all, true)).toEqual({
      filter: {
        ...{ include: ['**/*.jpg', 'a'], exclude: ['tmp/**'], hidden: false, minSize: 1024, maxSize: MiB },
        ...{ minAge: 30, maxAge: 172_800, symlinks: 'follow', emptyFolders: true },
      },
      objects: {
        ...{ contentType: 'a/b', cacheControl: 'no-store', metadata: { a: 'b' }, tags: { c: 'd' } },
        ...{ storageClass: 'X', encryption: { type: 'SSE_KMS', kmsKeyId: 'key' } },
      },
      monitor: { enabled: true, interval: 300, stability: 2 },
      ...{ compare: 'checksum', verify: true, deletions: { maxShare: 0.1 }, keyTemplate: '{name}' },
    });
    expect(limitsOf(all)).toEqual({ bandwidth: 10 * MiB, concurrency: 7 });
    expect(askedOf(given({ delete: true, maxDelete: '0.25' }), false).deletions).toEqual({ maxShare: 0.25 });
  });
});

describe('the id that is made', () => {
  const job = (path: string, prefix = 'p/', root = 'host') => ({
    source: { root, path },
    destination: { bucket: 'b', prefix },
  });

  test('is the same for the same folder and destination, and readable', () => {
    const id = madeJobId(job('home/me/My Photos'));
    expect(id).toMatch(/^My-Photos-[0-9a-f]{8}$/);
    expect(madeJobId(job('home/me/My Photos'))).toBe(id);
    const others = [
      job('home/you/My Photos'),
      job('home/me/My Photos', 'q/'),
      job('home/me/My Photos', 'p/', 'r'),
    ];
    expect(new Set([id, ...others.map(madeJobId)]).size).toBe(4);
  });

  test.each([
    ['', /^host-/],
    ['日本', /^folder-/],
    ['.config', /^config-/],
    ['x'.repeat(250), /^x{40}-/],
  ])('of %j is an id', (path, pattern) => {
    const id = madeJobId(job(path));
    expect(id).toMatch(pattern);
    expect(readId(id)).toEqual({ kind: undefined, id });
  });
});

describe('which is meant', () => {
  const is = <T>(value: T): PromiseSettledResult<T> => ({ status: 'fulfilled', value });
  const no = (code: 'NotFound' | 'TemporalUnavailable'): PromiseRejectedResult => ({
    status: 'rejected',
    reason: new LongshoreError(code, 'Temporal knows no upload x', { op: 'view', key: 'x' }),
  });

  test('can be said', () => {
    expect(readId('job/x')).toEqual({ kind: 'job', id: 'x' });
    expect(readId('upload/x')).toEqual({ kind: 'upload', id: 'x' });
    expect(readJobId('job/x')).toBe('x');
    expect(() => readId('job/a/b')).toThrow('cannot be the id');
  });

  test('is the one that there is', () => {
    expect(oneOf('x', is('u'), no('NotFound'))).toEqual({ kind: 'upload', found: 'u' });
    expect(oneOf('x', no('NotFound'), is('j'))).toEqual({ kind: 'job', found: 'j' });
  });

  test('is not guessed', () => {
    expect(() => oneOf('x', is('u'), is('j'))).toThrow('x is the id of an upload and of a job');
    expect(() => oneOf('x', no('NotFound'), no('NotFound'))).toThrow('neither an upload nor a job x');
    expect(() => oneOf('x', no('NotFound'), no('TemporalUnavailable'))).toThrow(
      expect.objectContaining({ code: 'TemporalUnavailable' }),
    );
  });
});

const NONE: JobCounts = {
  ...{ totalFiles: 0, totalBytes: 0, completedFiles: 0, completedBytes: 0, failedFiles: 0, skippedFiles: 0 },
  ...{ sentFiles: 0, sentBytes: 0, unchangedFiles: 0, deletedFiles: 0 },
};
const LOOK: JobLook = {
  ...{ id: 'x', state: 'IN_PROGRESS', phase: 'transfer', failure: undefined, unclaimed: undefined },
  counts: undefined,
};

describe('progress', () => {
  const counts = (sent: number, more: Partial<JobCounts> = {}): JobCounts => ({
    ...NONE,
    ...{ totalFiles: 20_000, totalBytes: 20_000 * 64 * 1024, sentFiles: sent, sentBytes: sent * 64 * 1024 },
    ...{ completedFiles: sent, completedBytes: sent * 64 * 1024, ...more },
  });

  test('has files, bytes, their rates, failures and the time that is left', () => {
    let now = 0;
    const drawing = new JobDrawing(() => now);
    expect(drawing.line({ ...LOOK, counts: counts(0) })).toBe('  0%  0 of 20,000 files  0.0 of 1.2 GiB');
    now = 2_000;
    expect(drawing.line({ ...LOOK, counts: counts(4_000, { failedFiles: 2 }) })).toBe(
      ' 20%  4,000 of 20,000 files  0.2 of 1.2 GiB  125.0 MiB/s  2,000 files/s  2 failed  8 s left',
    );
  });

  test('gives no share of a whole that still grows', () => {
    const drawing = new JobDrawing();
    expect(drawing.line({ ...LOOK, phase: 'scan' })).toBe('scanning');
    expect(drawing.line({ ...LOOK, phase: 'scan', counts: counts(10) })).toBe(
      'scanning  10 of 20,000 files  0.6 MiB of 1.2 GiB'.replace('0.6 MiB', '0.0'),
    );
  });

  test('says what stands still', () => {
    const drawing = new JobDrawing();
    expect(drawing.line({ ...LOOK, state: 'PENDING', phase: undefined })).toBe('waiting to start');
    expect(drawing.line({ ...LOOK, state: 'PAUSED', counts: counts(10_000) })).toBe(
      ' 50%  paused  10,000 of 20,000 files  0.6 of 1.2 GiB',
    );
  });

  test.each([10, 40, 79])('stays within %d columns', (width) => {
    let now = 0;
    const drawing = new JobDrawing(() => now);
    drawing.bar(width, { ...LOOK, counts: counts(0) });
    now = 1_000;
    expect(drawing.bar(width, { ...LOOK, counts: counts(9_000) }).length).toBeLessThanOrEqual(width);
  });

  test('as an event has the documented fields', () => {
    const { facts, rates } = new JobDrawing().event({ ...LOOK, counts: counts(5) });
    expect(Object.keys({ ...facts, ...rates })).toEqual([
      ...['id', 'state', 'phase', 'files', 'bytes', 'completed', 'completedBytes', 'sent', 'sentBytes'],
      ...[
        'unchanged',
        'skipped',
        'failed',
        'deleted',
        'unclaimed',
        'error',
        'bytesPerSecond',
        'filesPerSecond',
      ],
    ]);
  });
});

describe('the end', () => {
  const job = { id: 'x', to: 's3://b/p/', webUi: undefined };
  const result: JobResult = {
    ...NONE,
    ...{
      state: 'COMPLETED',
      generation: 2,
      totalFiles: 30,
      totalBytes: 3 * MiB,
      sentFiles: 4,
      sentBytes: MiB,
    },
    ...{ completedFiles: 29, completedBytes: 2 * MiB, unchangedFiles: 25 },
  };
  const failure = {
    path: 'a\u001bb',
    failureCode: 'SourceDenied',
    failureReason: 'the worker may not read it',
  };

  test('without failures is 0 and its figures', () => {
    const { io, out, err } = captured();
    expect(printJobResult(io, job, result, [], 2)).toBe(EXIT.ok);
    expect(out()).toBe(
      's3://b/p/\n  job        x\n  files      30, 3.0 MiB\n  sent       4, 1.0 MiB\n  unchanged  25\n' +
        '  took       2.00 s, 512.0 KiB/s, 2 files/s\n',
    );
    expect(err()).toBe('');
  });

  test('with failures is 7, and lists them', () => {
    const { io, out, err } = captured();
    expect(printJobResult(io, job, { ...result, failedFiles: 3 }, [failure], 2)).toBe(EXIT.partial);
    expect(out()).toContain('  failed     3\n');
    expect(err()).toBe(
      '3 files failed:\n  a\\u001bb: the worker may not read it (SourceDenied)\n  and 2 more\n' +
        'All of them: `longshore files x --state failed`; once repaired: `longshore retry x`\n',
    );
  });

  test('is one documented line of JSON', () => {
    const { io, out, err } = captured(true);
    expect(printJobResult(io, job, { ...result, failedFiles: 1 }, [failure], 1.23456)).toBe(EXIT.partial);
    expect(JSON.parse(out())).toEqual({
      ...{ type: 'result', id: 'x', state: 'COMPLETED', generation: 2, files: 30, bytes: 3 * MiB },
      ...{ completed: 29, completedBytes: 2 * MiB, sent: 4, sentBytes: MiB, unchanged: 25, skipped: 0 },
      ...{ failed: 1, deleted: 0, seconds: 1.235, webUi: null },
      failures: [{ path: 'a\u001bb', code: 'SourceDenied', reason: 'the worker may not read it' }],
    });
    expect(err()).toBe('');
  });

  test('of a cancelled job says what stays', () => {
    const { io, out, err } = captured();
    const cancelled = new LongshoreError('Cancelled', 'the job x was cancelled', { op: 'job' });
    expect(printJobFailed(io, job, cancelled, result, 2)).toBe(EXIT.cancelled);
    expect(err()).toBe(
      'The job x was cancelled; what it had sent stays in the bucket.\nIt had sent 4 files, 1.0 MiB.\n',
    );
    expect(out()).toBe('');
  });

  test('of a failed job is that of its error', () => {
    const { io, out } = captured(true);
    const failed = new LongshoreError('NoSuchBucket', 'no', { op: 'PutObject' });
    expect(printJobFailed(io, job, failed, undefined, 2)).toBe(EXIT.failed);
    expect(JSON.parse(out())).toMatchObject({
      type: 'result',
      id: 'x',
      state: 'FAILED',
      error: { code: 'NoSuchBucket' },
    });
  });
});
