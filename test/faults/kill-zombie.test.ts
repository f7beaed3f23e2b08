/** A worker stands still until another has taken its place, and then wakes up: it changes nothing. */
import { createServer, type RequestListener } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { unfinishedUploads } from '../helpers/leaks.js';
import { startWorker, type TestProcess } from '../helpers/processes.js';
import { objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { partCalls, untilMidPart } from '../helpers/sent.js';

const NEWER = 'newer than both';
const ORCHESTRATION = ['--queues', 'orchestration'];
const TRANSFER = ['--queues', 'transfer,transfer@files'];
let rig: Rig;

beforeAll(async () => {
  // More than the sockets between worker and proxy can hold still goes as one PutObject.
  rig = await startRig({
    worker: false,
    env: { LONGSHORE_THRESHOLD: '64MiB', LONGSHORE_URL_ALLOW: '127.0.0.0/8' },
  });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

async function headOf({ client, name }: TestBucket, key: string) {
  const { ETag, LastModified, ContentLength } = await client.send(
    new HeadObjectCommand({ Bucket: name, Key: key }),
  );
  return { ETag, LastModified, ContentLength };
}

async function overwrite({ client, name }: TestBucket, key: string): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: name, Key: key, Body: NEWER }));
}

/**
 * A worker to be stopped, and one that lives all through and does what moves no bytes: what the stopped one had asked
 * Temporal for before is still given to it, and each such task is missed only after its own time limit.
 */
async function startZombie(): Promise<TestProcess> {
  const [zombie] = await Promise.all([
    startWorker(rig.surroundings, TRANSFER),
    startWorker(rig.surroundings, ORCHESTRATION),
  ]);
  return zombie;
}

/** Wakes it and lets it do an upload of its own, so that whatever it had begun before has had its turn. */
async function wakeAndWork(zombie: TestProcess, other: TestProcess): Promise<void> {
  await other.end();
  zombie.signal('SIGCONT');
  const bucket = await rig.bucket();
  const file = await rig.file(80 * MiB);
  const { id } = await rig.start(file, bucket);
  await rig.client.result(id);
  expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  expect(await zombie.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(`${zombie.stdout}${zombie.stderr}`).not.toMatch(/"level":(50|60)|broke down/);
}

describe('SIGSTOP past the heartbeat timeout, then SIGCONT', () => {
  it('in the middle of a part: the object that another worker completed stays as it is', async () => {
    const file = await rig.bigFile(256 * MiB);
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(60 * MiB));
    const zombie = await startZombie();
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, file.size / 4);
    await untilMidPart(rig.proxy, bucket.name);
    zombie.signal('SIGSTOP');
    const other = await startWorker(rig.surroundings, TRANSFER);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ verification: 'full', generations: 1 });
    const before = await headOf(bucket, file.name);
    const woken = performance.now();
    await wakeAndWork(zombie, other);
    expect(partCalls(rig.proxy, bucket.name).filter(({ at }) => at > woken)).toEqual([]);
    expect(await headOf(bucket, file.name)).toEqual(before);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(await unfinishedUploads(bucket.client, bucket.name)).toEqual([]);
    expect(await rig.row(id)).toMatchObject({ state: 'COMPLETED', etag: result.etag });
  });

  it('in the middle of a PutObject: a newer object of someone else stays', async () => {
    const file = await rig.file(48 * MiB);
    const bucket = await rig.bucket();
    const zombie = await startZombie();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const held = new Promise<void>((resolve) => {
      const before = async (): Promise<void> => {
        // Stopped while most of the body is still its own.
        zombie.signal('SIGSTOP');
        resolve();
        await released;
      };
      rig.proxy.fault({ op: 'PutObject', bucket: bucket.name, times: 1 }, faults.hook({ before }));
    });
    onTestFinished(release);
    const { id } = await rig.start(file, bucket);
    await held;
    const other = await startWorker(rig.surroundings, TRANSFER);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    await overwrite(bucket, file.name);
    const before = await headOf(bucket, file.name);
    await wakeAndWork(zombie, other);
    release();
    const calls = rig.proxy.log.filter((call) => call.op === 'PutObject' && call.bucket === bucket.name);
    expect(calls.map(({ status }) => status)).toEqual([undefined, 200]);
    expect(await headOf(bucket, file.name)).toEqual(before);
  });

  it('while it reads the source of a PutObject: it sends nothing any more', async () => {
    const bucket = await rig.bucket();
    const zombie = await startZombie();
    const source = await heldSource(Buffer.alloc(MiB, 'source'), () => zombie.signal('SIGSTOP'));
    const started = await rig.client.startUpload({
      source: { kind: 'url', url: source.url },
      destination: { bucket: bucket.name, key: 'from-url' },
      options: {},
    });
    await source.held;
    const other = await startWorker(rig.surroundings, TRANSFER);
    await rig.client.result(started.id);
    await overwrite(bucket, 'from-url');
    const before = await headOf(bucket, 'from-url');
    source.release();
    await wakeAndWork(zombie, other);
    expect(rig.proxy.calls('PutObject', { bucket: bucket.name })).toBe(1);
    expect(await headOf(bucket, 'from-url')).toEqual(before);
  });
});

/** Answers ranges; the first GET of the whole is not answered until `release`, and `onHold` hears of it. */
async function heldSource(content: Buffer, onHold: () => void) {
  const gate = { hold: () => undefined as void, release: () => undefined as void };
  const held = new Promise<void>((resolve) => (gate.hold = resolve));
  const released = new Promise<void>((resolve) => (gate.release = resolve));
  let first = true;
  const listener: RequestListener = (request, response) => {
    const [from, to] = rangeOf(request.headers.range, content.length);
    const answer = (): void => {
      const range = { 'content-range': `bytes ${from}-${to}/${content.length}` };
      const head = { etag: '"held"', 'accept-ranges': 'bytes', 'content-length': String(to - from + 1) };
      response.writeHead(request.headers.range === undefined ? 200 : 206, { ...head, ...range });
      response.end(request.method === 'HEAD' ? undefined : content.subarray(from, to + 1));
    };
    if (request.method === 'HEAD' || to - from + 1 < content.length || !first) return answer();
    first = false;
    onHold();
    gate.hold();
    void released.then(answer);
  };
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/source.bin`, held, release: gate.release };
}

function rangeOf(header: string | undefined, size: number): [number, number] {
  const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(header ?? '') ?? [];
  return [Number(from), to === '' ? size - 1 : Math.min(Number(to), size - 1)];
}
