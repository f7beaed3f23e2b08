/** The command line against the real stack, as people and scripts use it. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { eventually } from '../helpers/wait.js';
import { Harness, HeldSource, type Line } from './cli-harness.js';

const MiB = 1024 * 1024;
let longshore: Harness;
let file: string;
const content = randomBytes(24 * MiB);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const fresh = (name: string): string => `${name}-${randomUUID().slice(0, 8)}`;

beforeAll(async () => {
  longshore = await Harness.start();
  file = join(longshore.dataDir, '..', 'some file.bin');
  await writeFile(file, content);
}, 180_000);

afterAll(async () => {
  await longshore?.stop();
}, 60_000);

/** Before any worker is there. */
describe('without a worker', () => {
  test('put warns, Ctrl-C detaches, doctor says what is missing, and a worker finishes it', async () => {
    const id = fresh('waiting');
    const put = longshore.run('put', file, `s3://uploads/${id}`, '--id', id);
    await put.until(({ stderr }) => stderr.includes('no worker takes tasks from the queue orchestration'));
    expect(put.child.exitCode).toBeNull();
    put.child.kill('SIGINT');
    expect(await put.exited).toBe(EXIT.detached);
    expect(put.stderr).toContain('Press Ctrl-C again within 3 s');
    expect(put.stderr).toContain(`longshore watch ${id}`);
    expect(put.stderr).toContain(`longshore cancel ${id}`);
    expect(put.stdout).toBe('');

    const status = await longshore.call('status', id, '--json');
    expect(status.code).toBe(EXIT.ok);
    expect(status.last).toMatchObject({ id, state: 'PENDING', unclaimed: 'orchestration', from: 'temporal' });

    const doctor = await longshore.call('doctor', '--json');
    expect(doctor.code).toBe(EXIT.unreachable);
    const checks = doctor.last['checks'] as Line[];
    expect(checks.find(({ part }) => part === 'Queue transfer')).toMatchObject({ status: 'unreachable' });
    expect(checks.find(({ part }) => part === 'S3 credentials')).toMatchObject({ status: 'ok' });

    await longshore.startWorker();
    const watch = await longshore.call('watch', id, '--json');
    expect(watch.code).toBe(EXIT.ok);
    expect(watch.last).toMatchObject({ type: 'result', id, state: 'COMPLETED', size: content.length });
  });
});

describe('with a worker', () => {
  beforeAll(() => longshore.startWorker(), 60_000);

  test('put --json ends in the documented line, and the object is the file', async () => {
    const key = fresh('a b+&?#') + '😀';
    const put = await longshore.call('put', file, `s3://uploads/${key}`, '--json', '--metadata', 'who=me');
    expect(put.code).toBe(EXIT.ok);
    expect(put.lines[0]).toMatchObject({ type: 'started', bucket: 'uploads', key, fresh: true });
    const { id, etag, versionId, checksum, seconds, webUi, ...known } = put.last;
    expect(known).toEqual({
      ...{ type: 'result', state: 'COMPLETED', bucket: 'uploads', key, size: content.length },
      ...{ verification: 'full', bytesSent: content.length, parts: 3, generations: 1 },
    });
    expect([typeof id, typeof etag, versionId, typeof seconds]).toEqual(['string', 'string', null, 'number']);
    expect(checksum).toMatch(/^crc32:[A-Za-z0-9+/]{6}==$/);
    expect(webUi).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/namespaces\/default\/workflows\/upload%2F/);
    expect(sha256(await readFile(longshore.object(key)))).toBe(sha256(content));
    expect(put.stderr).toBe('');
  });

  test('put sends from here to the API of the stack, which is found in its folder', async () => {
    const key = fresh('from here');
    const put = await longshore.call('put', file, `s3://uploads/${key}`, '--through-api', '--json');
    expect(put.code).toBe(EXIT.ok);
    expect(put.last).toMatchObject({ state: 'COMPLETED', key, size: content.length, verification: 'full' });
    expect(sha256(await readFile(longshore.object(key)))).toBe(sha256(content));
    const id = fresh('empty');
    const empty = await longshore.call('put', '-', `s3://uploads/${id}`, '--id', id, '--json');
    expect([empty.code, empty.last['size']]).toEqual([EXIT.ok, 0]);
    const sessions = await longshore.call('sessions', '--json');
    expect((sessions.last['sessions'] as Line[]).map((one) => one['id'])).toEqual([id, put.last['id']]);
    // A session is an upload like others.
    const status = await longshore.call('status', id, '--json');
    expect(status.last).toMatchObject({ id, state: 'COMPLETED', source: `client:${id}`, size: 0 });
  });

  test('the same id again is refused with its result, and with another input as a conflict', async () => {
    const id = fresh('once');
    const put = (key: string) => longshore.call('put', file, `s3://uploads/${key}`, '--id', id, '--json');
    const first = await put(id);
    const second = await put(id);
    expect([first.code, second.code]).toEqual([EXIT.ok, EXIT.conflict]);
    expect(second.last).toMatchObject({ id, state: 'COMPLETED', error: { code: 'AlreadyCompleted' } });
    for (const field of ['etag', 'webUi']) expect(second.last[field]).toBe(first.last[field]);
    const { workflowId, runId } = first.lines[0] ?? {};
    expect(second.last).toMatchObject({ workflowId, runId });
    const third = await put(`${id}-elsewhere`);
    expect(third.code).toBe(EXIT.conflict);
    expect(third.last).toMatchObject({ error: { code: 'Conflict' } });
  });

  test('a failure is the last line, and its exit code is that of the error', async () => {
    const put = await longshore.call('put', join(longshore.dataDir, 'no such'), 's3://uploads/x', '--json');
    expect(put.code).toBe(EXIT.failed);
    expect(put.last).toMatchObject({ type: 'result', state: 'FAILED', error: { code: 'SourceNotFound' } });
    expect(put.last).toMatchObject({
      error: { message: expect.stringMatching(/there is no such file \(ENOENT\)$/) as unknown },
    });
    const nowhere = await longshore.call('put', file, 's3://no-such-bucket-here/x');
    expect(nowhere).toMatchObject({ code: EXIT.failed, stdout: '' });
    expect(nowhere.stderr).toContain('(NoSuchBucket)\nhint: Create the bucket');
  });

  test('list shows what was uploaded, by pages', async () => {
    const first = await longshore.call('list', '--json', '--state', 'completed', '--limit', '1');
    expect(first.last).toMatchObject({ uploads: [{ state: 'COMPLETED', bucket: 'uploads' }] });
    const cursor = first.last['nextCursor'] as string;
    const second = await longshore.call(
      'list',
      '--json',
      '--state',
      'completed',
      '--limit',
      '1',
      '--cursor',
      cursor,
    );
    expect((second.last['uploads'] as Line[])[0]?.['id']).not.toBe(
      (first.last['uploads'] as Line[])[0]?.['id'],
    );
    const table = await longshore.call('list', '--state', 'FAILED');
    expect(table.stdout).toMatch(/^ID +STATE +SIZE +STARTED +DESTINATION\n\S+ +FAILED \w+/);
  });

  test('pause, status, resume and the end, of an address that is a secret', async () => {
    const source = await HeldSource.start(content);
    try {
      const id = fresh('steered');
      const secret = `token=${randomUUID()}`;
      const put = await longshore.call(
        'put',
        `${source.url}?${secret}`,
        `s3://uploads/${id}`,
        '--id',
        id,
        '--detach',
      );
      expect(put).toMatchObject({ code: EXIT.ok, stdout: `${id}\n` });
      await eventually(
        async () => (await longshore.call('status', id, '--json')).last['state'] === 'UPLOADING',
        { timeout: 20_000 },
      );
      const pause = await longshore.call('pause', id, '--json');
      expect(pause).toMatchObject({ code: EXIT.ok, last: { state: 'PAUSED', arrived: true } });
      const status = await longshore.call('status', id);
      expect(status.stdout).toMatch(new RegExp(`Next +longshore resume ${id}`));
      expect(status.stdout + put.stderr).not.toContain(secret);
      source.release();
      expect(await longshore.call('resume', id, '--json')).toMatchObject({
        code: EXIT.ok,
        last: { arrived: true },
      });
      const watch = await longshore.call('watch', id, '--json');
      expect(watch).toMatchObject({ code: EXIT.ok, last: { state: 'COMPLETED' } });
      expect(sha256(await readFile(longshore.object(id)))).toBe(sha256(content));
    } finally {
      await source.stop();
    }
  });

  test('Ctrl-C twice cancels, and so does `cancel`', async () => {
    const source = await HeldSource.start(content);
    try {
      const id = fresh('cancelled');
      const put = longshore.run('put', source.url, `s3://uploads/${id}`, '--id', id, '--json');
      await put.until(({ lines }) => lines.some(({ state }) => state === 'UPLOADING'));
      put.child.kill('SIGINT');
      await put.until(({ stderr }) => stderr.includes('again within'));
      put.child.kill('SIGINT');
      expect(await put.exited).toBe(EXIT.cancelled);
      expect(put.last).toMatchObject({ id, state: 'CANCELLED', error: { code: 'Cancelled' } });

      const other = fresh('cancelled');
      await longshore.call('put', source.url, `s3://uploads/${other}`, '--id', other, '--detach');
      const cancel = await longshore.call('cancel', other, '--json');
      expect(cancel).toMatchObject({ code: EXIT.ok, last: { id: other, state: 'CANCELLED', arrived: true } });
      const again = await longshore.call('cancel', other);
      expect(again.code).toBe(EXIT.conflict);
      expect(again.stderr).toContain('(NotRunning)');
      await expect(readFile(longshore.object(other))).rejects.toMatchObject({ code: 'ENOENT' });
    } finally {
      await source.stop();
    }
  });

  test('put goes on while Temporal is away', async () => {
    const source = await HeldSource.start(content);
    try {
      const id = fresh('outage');
      const put = longshore.run('put', source.url, `s3://uploads/${id}`, '--id', id, '--json');
      await put.until(({ lines }) => lines.some(({ state }) => state === 'UPLOADING'));
      const { pids } = await longshore.state();
      process.kill(pids['temporal'] ?? 0, 'SIGKILL');
      await eventually(async () => (await longshore.state()).pids['temporal'] !== pids['temporal'], {
        timeout: 30_000,
      });
      source.release();
      expect(await put.exited).toBe(EXIT.ok);
      expect(put.last).toMatchObject({ id, state: 'COMPLETED', size: content.length });
    } finally {
      await source.stop();
    }
  });

  test('doctor is content, and says which part is not there', async () => {
    const good = await longshore.call('doctor', '--bucket', 'uploads');
    expect(good).toMatchObject({ code: EXIT.ok });
    expect(good.stdout).toMatch(/Bucket +ok +uploads/);
    const bad = await longshore.call('doctor', '--json', '--database-url', 'postgres://x:y@127.0.0.1:1/z');
    expect(bad.code).toBe(EXIT.unreachable);
    const checks = bad.last['checks'] as Line[];
    expect(checks.filter(({ status }) => status === 'unreachable').map(({ part }) => part)).toEqual([
      'PostgreSQL',
    ]);
    const missing = await longshore.call('doctor', '--bucket', 'no-such-bucket-here');
    expect(missing.code).toBe(EXIT.failed);
    expect(missing.stdout).toMatch(/Bucket +FAILED/);
  });

  test('a server that is not there is exit code 4', async () => {
    const answer = await longshore.call('status', 'x', '--temporal-address', '127.0.0.1:1');
    expect(answer.code).toBe(EXIT.unreachable);
    expect(answer.stderr).toContain('(TemporalUnavailable)');
  });
});
