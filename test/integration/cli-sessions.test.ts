/**
 * `longshore put` from a machine that reaches nothing but the API, and `longshore sessions`: real commands, a real API, real
 * servers behind it. What the commands are given says where the API is, and nothing else.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import { pickPort } from '../../src/dev/ports.js';
import { startTestApi, type Json, type TestApi } from '../helpers/api.js';
import { faults } from '../helpers/fault-proxy.js';
import { lastJson, startLongshore, type TestProcess } from '../helpers/processes.js';
import { keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { eventually } from '../helpers/wait.js';

const CHUNK = 5 * MiB;
/** Each part takes at least so long where something is to happen meanwhile. */
const PART_MS = 1000;

let rig: Rig;
let port: number;
let api: TestApi;

beforeAll(async () => {
  rig = await startRig();
  port = await pickPort();
  await startApi();
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await api.close();
  await rig.close();
});

/** On the same port each time: commands find it again. */
async function startApi(): Promise<void> {
  // Chunks of unknown number are not made larger than they are asked to be.
  const env = { LONGSHORE_API_PORT: String(port), LONGSHORE_EXPECTED_MAX: '1GiB' };
  api = await startTestApi(rig.surroundings, { env });
}

function longshore(...args: string[]): TestProcess {
  const env = { LONGSHORE_API_URL: `http://127.0.0.1:${port}`, LONGSHORE_API_PATIENCE: '60s' };
  return startLongshore(args, { dataDir: join(rig.folder, 'elsewhere'), env });
}

async function call(
  ...args: string[]
): Promise<{ code: number | null; json: Json; stdout: string; stderr: string }> {
  const child = longshore(...args);
  child.child.stdin?.end();
  const { code } = await child.exited;
  const { stdout, stderr } = child;
  return { code, json: args.includes('--json') ? lastJson(stdout) : {}, stdout, stderr };
}

const put = (path: string, bucket: { name: string }, id: string, ...more: string[]): string[] => [
  ...['put', path, `s3://${bucket.name}/${id}`, '--id', id, '--json', '--part-size', String(CHUNK), ...more],
];

async function session(id: string): Promise<Json> {
  const { status, body } = await api.get(`/api/v1/sessions/${id}`);
  if (status !== 200) throw new Error(`${status} for ${id}`);
  return body;
}

async function received(id: string, least: number): Promise<number[]> {
  return await eventually(
    async () => {
      const { ranges } = (await session(id))['received'] as { ranges: [number, number][] };
      const all = ranges.flatMap(([first, last]) =>
        Array.from({ length: last - first + 1 }, (_, at) => first + at),
      );
      return all.length >= least ? all : false;
    },
    { timeout: 60_000, interval: 25, what: `${least} chunks of ${id}` },
  );
}

/** Parts of this key that S3 has confirmed since then, from 0 as chunks are. */
function confirmed(key: string, since = 0): number[] {
  return rig.proxy.log
    .filter((each) => each.op === 'UploadPart' && each.key === key && each.at >= since && each.status === 200)
    .map(({ part = 0 }) => part - 1);
}

describe('put of a file', () => {
  test('arrives whole, with the lines that put has, and is not sent again under its id', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.file(12 * MiB + 3)];
    const id = randomUUID();
    const first = await call(...put(file.path, bucket, id, '--metadata', 'who=me', '--content-type', 'a/b'));
    expect(first.stderr).toBe('');
    expect(first.code).toBe(EXIT.ok);
    const lines = first.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Json);
    expect(lines[0]).toMatchObject({ type: 'started', id, fresh: true, bucket: bucket.name, key: id });
    expect(first.json).toMatchObject({
      ...{
        type: 'result',
        id,
        state: 'COMPLETED',
        bucket: bucket.name,
        key: id,
        size: file.size,
        versionId: null,
      },
      ...{ verification: 'full', bytesSent: file.size, parts: 3, generations: 1 },
      checksum: expect.stringMatching(/^crc32:[A-Za-z0-9+/]{6}==$/) as unknown,
    });
    expect(await objectSha256(bucket, id)).toBe(file.sha256);
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: id }));
    expect(head.ContentType).toBe('a/b');
    expect(head.Metadata).toMatchObject({ who: 'me', 'original-name': file.name });

    const second = await call(...put(file.path, bucket, id));
    expect(second.code).toBe(EXIT.conflict);
    expect(second.json).toMatchObject({
      state: 'COMPLETED',
      etag: first.json['etag'],
      error: { code: 'AlreadyCompleted' },
    });
    const elsewhere = await call('put', file.path, `s3://${bucket.name}/other`, '--id', id, '--json');
    expect(elsewhere.code).toBe(EXIT.conflict);
    expect(elsewhere.json).toMatchObject({ error: { code: 'Conflict' } });
    expect(confirmed(id)).toHaveLength(3);
  });

  test.each([0, 1])('of %i bytes', async (size) => {
    const [bucket, file] = [await rig.bucket(), await rig.file(size)];
    const id = randomUUID();
    const { code, json } = await call(...put(file.path, bucket, id));
    expect(code).toBe(EXIT.ok);
    expect(json).toMatchObject({ size, parts: 1 });
    expect(await objectSha256(bucket, id)).toBe(file.sha256);
  });

  test('killed by SIGKILL in the middle, the API started anew: the same id sends what is missing, and no more', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.bigFile(60 * MiB)];
    const id = randomUUID();
    rig.proxy.fault({ op: 'UploadPart', key: id }, faults.delay(PART_MS));
    const first = longshore(...put(file.path, bucket, id));
    await received(id, 5);
    await first.kill('SIGKILL');
    await api.close();
    await startApi();
    const there = await received(id, 5);
    const since = performance.now();
    rig.proxy.clearFaults();
    const second = await call(...put(file.path, bucket, id));
    expect(second.code).toBe(EXIT.ok);
    expect(second.json).toMatchObject({
      state: 'COMPLETED',
      size: file.size,
      parts: 12,
      verification: 'full',
    });
    expect(second.stdout).toContain('"fresh":false');
    const again = confirmed(id, since);
    expect(new Set(again)).toEqual(
      new Set(Array.from({ length: 12 }, (_, at) => at).filter((at) => !there.includes(at))),
    );
    expect(again).toHaveLength(12 - there.length);
    expect(second.json['bytesSent']).toBe((12 - there.length) * CHUNK);
    expect(await objectSha256(bucket, id)).toBe(file.sha256);
  });

  test('goes on by itself while the API is away and comes back', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.bigFile(60 * MiB)];
    const id = randomUUID();
    const slow = rig.proxy.fault({ op: 'UploadPart', key: id }, faults.delay(PART_MS));
    const running = longshore(...put(file.path, bucket, id));
    await received(id, 2);
    await api.close();
    // Said once nobody answers.
    await running.said(/does not answer.*; still trying/, { timeout: 30_000 });
    slow.remove();
    await startApi();
    expect(await running.exited).toMatchObject({ code: EXIT.ok });
    expect(lastJson(running.stdout)).toMatchObject({ state: 'COMPLETED', size: file.size });
    expect(await objectSha256(bucket, id)).toBe(file.sha256);
  });

  test('Ctrl-C once keeps what was sent, twice leaves nothing', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.bigFile(60 * MiB)];
    const id = randomUUID();
    const slow = rig.proxy.fault({ op: 'UploadPart', key: id }, faults.delay(3 * PART_MS));
    const first = longshore(...put(file.path, bucket, id));
    await received(id, 1);
    first.signal('SIGINT');
    expect(await first.exited).toMatchObject({ code: EXIT.detached });
    expect(first.stderr).toContain(`--id ${id}`);
    expect(await session(id)).toMatchObject({ state: 'UPLOADING' });

    const second = longshore(...put(file.path, bucket, id));
    await second.said(/"fresh":false/);
    second.signal('SIGINT');
    await second.said(/Press Ctrl-C again/);
    second.signal('SIGINT');
    expect(await second.exited).toMatchObject({ code: EXIT.cancelled });
    expect(lastJson(second.stdout)).toMatchObject({ state: 'CANCELLED', error: { code: 'Cancelled' } });
    expect(await session(id)).toMatchObject({ state: 'CANCELLED' });
    slow.remove();
    // The id of what was cancelled is free.
    expect(await call(...put(file.path, bucket, id))).toMatchObject({ code: EXIT.ok });
    expect(await objectSha256(bucket, id)).toBe(file.sha256);
  });

  test('that changed meanwhile is not mixed with what was sent of it', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.file(60 * MiB)];
    const id = randomUUID();
    const slow = rig.proxy.fault({ op: 'UploadPart', key: id }, faults.delay(PART_MS));
    const first = longshore(...put(file.path, bucket, id));
    await received(id, 1);
    await first.kill('SIGKILL');
    const bytes = await readFile(file.path);
    await writeFile(file.path, bytes.fill(7, 0, 10));
    const refused = await call(...put(file.path, bucket, id));
    expect(refused.code).toBe(EXIT.failed);
    expect(refused.json).toMatchObject({
      error: { code: 'SourceChanged', hint: expect.stringContaining('cancel') as unknown },
    });
    // A mistake costs nothing: the session is as it was.
    expect(await session(id)).toMatchObject({ state: 'UPLOADING' });
    expect(await call('sessions', 'cancel', id, '--json')).toMatchObject({
      code: EXIT.ok,
      json: { state: 'CANCELLED' },
    });

    const running = longshore(...put(file.path, bucket, id));
    await received(id, 1);
    await writeFile(file.path, bytes.fill(8, 0, 10));
    slow.remove();
    expect(await running.exited).toMatchObject({ code: EXIT.failed });
    expect(lastJson(running.stdout)).toMatchObject({ state: 'FAILED', error: { code: 'SourceChanged' } });
    expect(await session(id)).toMatchObject({ state: 'CANCELLED' });
    expect(await keysIn(bucket)).toEqual([]);
  });

  test('what only workers can do is refused before anything is sent', async () => {
    const { code, json } = await call(
      ...put('x', { name: 'bucket' }, randomUUID(), '--storage-class', 'GLACIER'),
    );
    expect(code).toBe(EXIT.usage);
    expect(json).toMatchObject({ error: { message: expect.stringContaining('--storage-class') as unknown } });
    const missing = await call(...put('no such file', { name: 'bucket' }, randomUUID()));
    expect(missing).toMatchObject({ code: EXIT.failed, json: { error: { code: 'SourceNotFound' } } });
  });
});

/** xorshift32: what it makes can be told again without being kept. */
function* stretches(size: number): Generator<Buffer> {
  let state = 0x9e3779b9;
  for (let made = 0; made < size; made += MiB) {
    const words = new Uint32Array(MiB / 4);
    for (let at = 0; at < words.length; at++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[at] = state;
    }
    yield Buffer.from(words.buffer).subarray(0, size - made);
  }
}

/** Writes them into the pipe as it takes them, and answers their SHA-256. */
async function feed({ child }: TestProcess, size: number): Promise<string> {
  const { stdin } = child;
  if (stdin === null) throw new Error('there is no pipe');
  const hash = createHash('sha256');
  for (const bytes of stretches(size)) {
    hash.update(bytes);
    if (!stdin.write(bytes)) await new Promise((resolve) => stdin.once('drain', resolve));
  }
  stdin.end();
  return hash.digest('hex');
}

/** Bytes at its largest so far; undefined once it has ended. */
async function peakMemory(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(status) ?? [];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

/** Three chunks into a pipe that stays open. What ends before it has read them need not read them. */
function pour({ child }: TestProcess): void {
  child.stdin?.on('error', () => undefined);
  child.stdin?.write(Buffer.alloc(3 * CHUNK, 1));
}

describe('put -', () => {
  test.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1])('%i bytes through a pipe', async (size) => {
    const bucket = await rig.bucket();
    const id = randomUUID();
    const child = longshore(...put('-', bucket, id));
    const sha256 = await feed(child, size);
    expect(await child.exited).toMatchObject({ code: EXIT.ok });
    expect(lastJson(child.stdout)).toMatchObject({ size, parts: size > CHUNK ? 2 : 1, bytesSent: size });
    expect(await objectSha256(bucket, id)).toBe(sha256);
  });

  test('200 MiB without holding them', async () => {
    const bucket = await rig.bucket();
    const id = randomUUID();
    const child = longshore(
      'put',
      '-',
      `s3://${bucket.name}/${id}`,
      '--id',
      id,
      '--json',
      '--expected-size',
      '1GiB',
    );
    let peak = 0;
    const looking = setInterval(
      () => void peakMemory(child.pid).then((now = 0) => (peak = Math.max(peak, now))),
      100,
    );
    onTestFinished(() => clearInterval(looking));
    const sha256 = await feed(child, 200 * MiB);
    expect(await child.exited).toMatchObject({ code: EXIT.ok });
    expect(lastJson(child.stdout)).toMatchObject({ size: 200 * MiB, parts: 25, verification: 'full' });
    expect(await objectSha256(bucket, id)).toBe(sha256);
    console.info(`put - of 200 MiB: at most ${Math.round(peak / MiB)} MiB`);
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(220 * MiB);
  });

  test('Ctrl-C cancels it, and leaves nothing', async () => {
    const bucket = await rig.bucket();
    const id = randomUUID();
    const child = longshore(...put('-', bucket, id));
    pour(child);
    await received(id, 2);
    child.signal('SIGINT');
    expect(await child.exited).toMatchObject({ code: EXIT.cancelled });
    expect(lastJson(child.stdout)).toMatchObject({ type: 'result', state: 'CANCELLED' });
    expect(await session(id)).toMatchObject({ state: 'CANCELLED' });
  });

  test('whoever reads the output going away cancels it too', async () => {
    const bucket = await rig.bucket();
    const id = randomUUID();
    const child = longshore(...put('-', bucket, id));
    child.child.stdout?.destroy();
    pour(child);
    expect(await child.exited).toMatchObject({ code: EXIT.cancelled });
    await eventually(async () => (await session(id))['state'] === 'CANCELLED', {
      what: 'the session to be cancelled',
    });
  });

  test('needs an API', async () => {
    const child = startLongshore(['put', '-', 's3://bucket/key'], { dataDir: join(rig.folder, 'elsewhere') });
    expect(await child.exited).toMatchObject({ code: EXIT.usage });
    expect(child.stderr).toContain('no API is configured');
  });
});

describe('sessions', () => {
  test('are listed and looked at: what came, what is missing, until when', async () => {
    const [bucket, file] = [await rig.bucket(), await rig.bigFile(60 * MiB)];
    const id = randomUUID();
    rig.proxy.fault({ op: 'UploadPart', key: id }, faults.delay(PART_MS));
    const running = longshore(...put(file.path, bucket, id));
    await received(id, 2);
    await running.kill('SIGKILL');
    const there = await received(id, 2);

    const { code, json } = await call('sessions', id, '--json');
    expect(code).toBe(EXIT.ok);
    expect(json).toMatchObject({
      ...{
        id,
        state: 'UPLOADING',
        bucket: bucket.name,
        key: id,
        name: file.name,
        chunkSize: CHUNK,
        mode: 'chunks',
      },
      ...{ expectedSize: file.size, receivedBytes: there.length * CHUNK, error: null, completedAt: null },
      ...{ received: { count: there.length }, missing: { count: 12 - there.length } },
    });
    expect(Date.parse(String(json['expiresAt']))).toBeGreaterThan(Date.now() + 60_000);
    const shown = await call('sessions', id);
    expect(shown.stdout).toMatch(/^ {2}received {2,}\d+\.0 of 60\.0 MiB, \d+ chunks?: \d/m);
    expect(shown.stdout).toMatch(/^ {2}missing {2,}\d+ chunks?: \d/m);
    expect(shown.stdout).toMatch(/^ {2}expires .*, in 2\d h/m);

    const list = await call('sessions', '--bucket', bucket.name, '--state', 'uploading', '--json');
    expect(list.json).toMatchObject({ sessions: [{ id }], nextCursor: null });
    expect((await call('sessions', '--bucket', bucket.name)).stdout).toMatch(
      new RegExp(`^${id} +UPLOADING `, 'm'),
    );

    const cancelled = await call('sessions', 'cancel', id);
    expect(cancelled).toMatchObject({ code: EXIT.ok, stdout: `Cancelled ${id}; nothing of it is left.\n` });
    expect(
      (await call('sessions', '--bucket', bucket.name, '--state', 'uploading', '--json')).json,
    ).toMatchObject({ sessions: [] });
    expect(await call('sessions', randomUUID(), '--json')).toMatchObject({
      code: EXIT.failed,
      json: { error: { code: 'NotFound' } },
    });
  });

  test.each([[['cancel']], [['a', 'b']], [['../x']], [['--state', 'lost']]])(
    '%j is bad usage',
    async (args) => {
      expect(await call('sessions', ...args, '--json')).toMatchObject({ code: EXIT.usage });
    },
  );
});
