import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { uploadOptions } from '../../src/client/cli/commands/put.js';
import { checkClock } from '../../src/client/cli/checks-storage.js';
import { report } from '../../src/client/cli/failure.js';
import { Io } from '../../src/client/cli/io.js';
import { runProgram } from '../../src/client/cli/program.js';
import { EXIT, LongshoreError } from '../../src/core/errors.js';
import { loadConfig } from '../../src/infra/config.js';

function captured(argv: readonly string[] = [], env: Record<string, string> = {}) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
  const io = new Io({
    ...{ stdout, stderr, env, cwd: '/nowhere', entry: '/nowhere/cli.js', json: argv.includes('--json') },
    exit: () => {
      throw new Error('exit');
    },
  });
  return { io, out: () => text(stdout), err: () => text(stderr) };
}

async function longshore(...argv: string[]) {
  const { io, out, err } = captured(argv);
  const code = await runProgram(io, argv, '1.2.3');
  return { code, out: out(), err: err() };
}

describe('usage', () => {
  test('version and help are results', async () => {
    expect(await longshore('--version')).toEqual({ code: EXIT.ok, out: '1.2.3\n', err: '' });
    const help = await longshore('put', '--help');
    expect(help).toMatchObject({ code: EXIT.ok, err: '' });
    expect(help.out).toContain('--if-none-match');
  });

  test.each([
    [[], ''],
    [['frobnicate'], "unknown command 'frobnicate'"],
    [['put', 'x'], "missing required argument 'destination'"],
    [['put', '--no-such', 'a', 's3://bucket/b'], "unknown option '--no-such'"],
    [['put', 'https://x.example/a', 'nowhere'], 'is not s3://bucket/key'],
    [['put', 'https://x.example/a', `s3://bucket/${'k'.repeat(1025)}`], '1024'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--part-size', '8Mbit'], '--part-size'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--part-size', '1MiB'], 'part size'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--concurrency', 'lots'], '--concurrency'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--metadata', 'novalue'], 'name=value'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--demand', 'much'], '--demand'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--id', 'a/b'], 'id'],
    [['put', 'https://x.example/a', 's3://bucket/b', '--temporal-address', 'nonsense'], '--temporal-address'],
    [['list', '--state', 'LOST'], '--state'],
    [['list', '--limit', 'x'], '--limit'],
    [['status', '../x'], 'id'],
    [['worker', '--queues', 'transfers'], '--queues'],
  ])('%j is refused before any work', async (argv, said) => {
    const answer = await longshore(...argv, '--data-dir', '/nowhere/.longshore');
    expect(answer.code).toBe(EXIT.usage);
    expect(answer.err).toContain(said);
    expect(answer.out).toBe('');
  });

  test('with --json the refusal is JSON on stdout', async () => {
    const answer = await longshore('put', '--json');
    expect(answer).toMatchObject({ code: EXIT.usage, err: '' });
    expect(JSON.parse(answer.out)).toMatchObject({ error: { code: 'InvalidInput', op: 'usage', key: null } });
  });
});

describe('failures', () => {
  const failure = new LongshoreError('AccessDenied', 'PutObject s3://b/\u001b[31mk: denied', {
    op: 'PutObject',
  });

  test('name the code and the way out, and no stack', () => {
    const { io, out, err } = captured();
    expect(report(io, failure)).toBe(EXIT.failed);
    expect(err()).toBe(
      `error: PutObject s3://b/\\u001b[31mk: denied (AccessDenied)\nhint: ${failure.hint}\n`,
    );
    expect(out()).toBe('');
  });

  test('show their stack when asked to', () => {
    const { io, err } = captured([], { LONGSHORE_LOG_LEVEL: 'debug' });
    report(io, failure);
    expect(err()).toContain('cli-usage.test.ts');
  });

  test.each([
    ['TemporalUnavailable', EXIT.unreachable],
    ['Conflict', EXIT.conflict],
    ['Cancelled', EXIT.cancelled],
    ['KeyTooLong', EXIT.usage],
    ['SourceChanged', EXIT.failed],
  ] as const)('%s is exit code %d', (code, exit) => {
    const { io } = captured();
    expect(report(io, new LongshoreError(code, 'x', { op: 'x' }))).toBe(exit);
  });

  test('a reader that goes away ends the command without an error', () => {
    const { io } = captured();
    io.brokenPipeCode = EXIT.detached;
    const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    const exits: number[] = [];
    const stdout = new PassThrough();
    const piped = new Io({
      ...{ stdout, stderr: new PassThrough(), env: {}, cwd: '/', entry: '', json: false },
      exit: (code) => exits.push(code) as never,
    });
    piped.brokenPipeCode = EXIT.detached;
    stdout.emit('error', broken);
    expect(exits).toEqual([EXIT.detached]);
  });
});

describe('options of put', () => {
  test('only what was asked for is in them', () => {
    expect(uploadOptions({ checksum: true })).toEqual({});
    const { uploadAsked } = loadConfig({
      env: { CHUNK_SIZE: '16MiB', LONGSHORE_SSE: 'AES256', LONGSHORE_DATA_DIR: '/nowhere' },
    });
    const asked = { partSize: 16 * 1024 ** 2, encryption: { type: 'SSE_S3' } };
    expect(uploadOptions({ checksum: true }, uploadAsked)).toEqual(asked);
    expect(uploadOptions({ checksum: true, partSize: '8MiB' }, uploadAsked)).toEqual({
      ...asked,
      partSize: 8 * 1024 ** 2,
    });
  });

  test('all of them arrive', () => {
    expect(
      uploadOptions({
        ...{ partSize: '8MiB', concurrency: '3', contentType: 'a/b', cacheControl: 'no-store' },
        ...{ metadata: ['a=b=c', 'd='], tag: ['t=u'], storageClass: 'STANDARD_IA', ifNoneMatch: true },
        ...{ checksum: false, sseKms: 'key', demand: 'server', expectedSize: '10' },
      }),
    ).toEqual({
      ...{ partSize: 8_388_608, concurrency: 3, contentType: 'a/b', cacheControl: 'no-store' },
      ...{ metadata: { a: 'b=c', d: '' }, tags: { t: 'u' }, storageClass: 'STANDARD_IA', ifNoneMatch: '*' },
      ...{ checksum: false, demand: 'server', expectedSize: 10 },
      encryption: { type: 'SSE_KMS', kmsKeyId: 'key' },
    });
    expect(uploadOptions({ checksum: true, sse: true }).encryption).toEqual({ type: 'SSE_S3' });
    expect(uploadOptions({ checksum: true, sseKms: true }).encryption).toEqual({ type: 'SSE_KMS' });
    expect(() => uploadOptions({ checksum: true, sse: true, sseKms: true })).toThrow('exclude');
    expect(() => uploadOptions({ checksum: true, metadata: ['a=1', 'a=2'] })).toThrow('twice');
  });
});

describe('the clock', () => {
  const now = Date.parse('2026-01-01T12:00:00Z');
  test.each([
    ['Thu, 01 Jan 2026 12:00:01 GMT', 'ok'],
    ['Thu, 01 Jan 2026 12:02:00 GMT', 'warning'],
    ['Thu, 01 Jan 2026 11:40:00 GMT', 'failed'],
    [null, 'warning'],
  ])('%s is %s', (date, status) => expect(checkClock(date, now).status).toBe(status));
});
