/** Jobs of many files through what goes wrong around them: the end is exact, and next to nothing is sent twice. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_CONCURRENCY, KiB, MIN_PART_SIZE, MiB } from '../../src/core/limits.js';
import { setLimits } from '../../src/infra/catalog/jobs.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { startGuard, type Guard } from '../../src/dev/guard.js';
import { startTemporal, type StartTemporalOptions, type TemporalPart } from '../../src/dev/parts/temporal.js';
import { pickPorts } from '../../src/dev/ports.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { expectExact, jobFolder, jobOf, type FolderShape, type JobFolder } from '../helpers/job-folder.js';
import { startLongshore, startWorker, type TestProcess } from '../helpers/processes.js';
import { puts, sentSmall, sentTwice, untilSent } from '../helpers/puts.js';
import { registerProcess } from '../helpers/registry.js';
import { keysIn, startRig, type Rig } from '../helpers/rig.js';
import { slowDown } from '../helpers/slow-down.js';
import { eventually, stays } from '../helpers/wait.js';

const MANY: FolderShape = { files: 3000, large: 70 * MiB };
const FEWER: FolderShape = { files: 1500, large: 70 * MiB };
/** What is in flight at any time: two batches of 16 lanes. */
const IN_FLIGHT = 2 * 16;
/** Each PUT takes at least so long, so that the number of those within a time has a bound. */
const PUT_MS = 100;
/** From an answer of S3 until the catalog has it, on a busy machine. */
const COMMIT_MS = 300;
const SENT_AGAIN = IN_FLIGHT * (1 + COMMIT_MS / PUT_MS);
/** Longer than the heartbeat timeout: to a server that comes back, every attempt is lost. */
const OUTAGE_MS = 9_000;

let folder: string;
let guard: Guard;
let options: StartTemporalOptions;
let temporal: TemporalPart;
let rig: Rig;
let db: Pool;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-jobs-'));
  guard = startGuard();
  const [port = 0, uiPort = 0] = await pickPorts([[], []]);
  // The namespace of the test is used as soon as it is made.
  const dynamicConfig = ['system.namespaceCacheRefreshInterval="200ms"'];
  options = { dataDir: folder, env: process.env, log: () => undefined, guard, port, uiPort, dynamicConfig };
  await start();
  const env = { CHUNK_SIZE: String(MIN_PART_SIZE) };
  rig = await startRig({ worker: false, temporal: temporal.address, env });
  db = createPool(rig.config.postgresUrl ?? '');
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await db.end();
  await rig.close();
  await temporal.stop();
  await guard.close();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  temporal = await startTemporal(options);
  registerProcess(temporal.pid, 'temporal of a fault test');
}

interface Begun {
  id: string;
  bucket: TestBucket;
  files: JobFolder;
  worker: TestProcess;
}

async function begin(shape: FolderShape): Promise<Begun> {
  const [files, bucket, worker] = await Promise.all([
    jobFolder(rig, shape),
    rig.bucket(),
    startWorker(rig.surroundings),
  ]);
  const { id } = await rig.client.jobs.startJob({ definition: jobOf(rig, files, bucket), db });
  return { id, bucket, files, worker };
}

/** Small files and the large one take long enough to be found half-way. */
function slowly(putMs = PUT_MS, partsRate = 10 * MiB): void {
  rig.proxy.fault({ op: 'PutObject' }, faults.delay(putMs));
  rig.proxy.fault({ op: 'UploadPart' }, faults.bandwidth(partsRate));
}

function atLeast(ms: number, since: number): Promise<unknown> {
  return eventually(() => performance.now() - since > ms, { timeout: 2 * ms });
}

describe('a job of small files and one of 70 MiB', () => {
  it('3,000 files, kill -9 of the worker half-way: another goes on, and sends at most what was in flight again', async () => {
    slowly();
    const { id, bucket, files, worker } = await begin(MANY);
    await untilSent(rig.proxy, bucket.name, { small: 1000, parts: 2 });
    await worker.kill('SIGKILL');
    const killed = performance.now();
    const second = await startWorker(rig.surroundings);
    rig.proxy.clearFaults();
    await rig.client.jobs.result(id);
    await expectExact(db, id, files, bucket);
    report('worker', killed, bucket);
    const twice = sentTwice(rig.proxy, bucket.name, killed);
    expect(twice.objects).toBeLessThanOrEqual(SENT_AGAIN);
    expect(twice.parts).toBeLessThanOrEqual(DEFAULT_CONCURRENCY);
    expect(second.running).toBe(true);
  });

  it('Temporal killed half-way and started on its file 9 s later: the same', async () => {
    slowly();
    const { id, bucket, files, worker } = await begin(FEWER);
    await untilSent(rig.proxy, bucket.name, { small: 500, parts: 2 });
    // Batches last through the outage, and past it.
    rig.proxy.fault({ op: 'PutObject' }, faults.delay(4 * PUT_MS));
    temporal.kill();
    await temporal.exited;
    const killed = performance.now();
    await atLeast(OUTAGE_MS, killed);
    const back = performance.now();
    await start();
    rig.proxy.clearFaults();
    await rig.client.jobs.result(id);
    await expectExact(db, id, files, bucket);
    report('Temporal', back, bucket);
    const twice = sentTwice(rig.proxy, bucket.name, back);
    expect(twice.objects).toBeLessThanOrEqual(SENT_AGAIN);
    expect(twice.parts).toBeLessThanOrEqual(DEFAULT_CONCURRENCY);
    expect(worker.running).toBe(true);
  });

  it('kill -9 of the API half-way: the job goes on, and another API tells its end', async () => {
    slowly();
    const [files, bucket, api] = await Promise.all([jobFolder(rig, FEWER), rig.bucket(), startApi()]);
    await startWorker(rig.surroundings);
    const answer = await fetch(`${api.url}/api/v1/uploads/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        source_folder: files.path,
        destination_bucket: bucket.name,
        destination_prefix: 'in/',
        monitor: false,
      }),
    });
    expect(answer.status).toBe(200);
    const { upload_id: id } = (await answer.json()) as { upload_id: string };
    await untilSent(rig.proxy, bucket.name, { small: 300, parts: 1 });
    await api.process.kill('SIGKILL');
    const sent = sentSmall(rig.proxy, bucket.name);
    await untilSent(rig.proxy, bucket.name, { small: sent + 200 });
    const second = await startApi();
    const half = await view(second.url, id);
    expect(half).toMatchObject({ state: 'IN_PROGRESS' });
    expect(half['completed_files']).toBeGreaterThan(sent - SENT_AGAIN);
    rig.proxy.clearFaults();
    await rig.client.jobs.result(id);
    const bytes = [...files.small.values()].reduce((sum, { size }) => sum + size, 0) + 70 * MiB;
    expect(await view(second.url, id)).toMatchObject({
      ...{ state: 'COMPLETED', progress: 1, total_files: 1501, completed_files: 1501, failed_files: 0 },
      ...{ sent_files: 1501, completed_bytes: bytes, sent_bytes: bytes, generation: 1 },
    });
    await expectExact(db, id, files, bucket);
    expect(sentTwice(rig.proxy, bucket.name)).toMatchObject({ objects: 0, parts: 0 });
  });
});

it('30 % of 503 SlowDown for 5 s: fewer requests at once, then as many as before, and nothing fails', async () => {
  const { before, during, after, refused } = await slowDown(rig, db, { seconds: 5, files: 2000 });
  const figures = [before, during, after].map((one) => one.toFixed(1));
  console.info(`requests at once: ${figures.join(', then ')}; ${refused} refused`);
  expect(refused).toBeGreaterThan(20);
  expect(during).toBeLessThan(before / 2);
  expect(after).toBeGreaterThan(2 * during);
});

describe('a running job', () => {
  it('paused begins nothing after 3 s; resumed, it sends nothing twice', async () => {
    // What is in flight, 20 MiB of parts, needs less than the 1.5 s that an attempt has to end it.
    slowly(4 * PUT_MS, 20 * MiB);
    const { id, bucket, files } = await begin({ files: 1200, large: 70 * MiB });
    await untilSent(rig.proxy, bucket.name, { small: 100, parts: 2 });
    await rig.client.jobs.pause(id);
    const asked = performance.now();
    await atLeast(3000, asked);
    const { length } = puts(rig.proxy, bucket.name);
    await stays(() => puts(rig.proxy, bucket.name).length === length, 2000, 'no PUT begun');
    // Else it had nothing left to begin.
    expect(length).toBeLessThan(1100);
    expect((await rig.client.jobs.viewJob(id)).state).toBe('PAUSED');
    const last = Math.max(...puts(rig.proxy, bucket.name).map(({ at }) => at)) - asked;
    rig.proxy.clearFaults();
    await rig.client.jobs.resume(id);
    await rig.client.jobs.result(id);
    await expectExact(db, id, files, bucket);
    expect(sentTwice(rig.proxy, bucket.name)).toMatchObject({ objects: 0, parts: 0 });
    console.info(`the last PUT began ${(last / 1000).toFixed(1)} s after the pause`);
  });

  it('cancelled ends within 5 s, with no upload left', async () => {
    slowly(4 * PUT_MS);
    const { id, bucket } = await begin({ files: 1200, large: 70 * MiB });
    await untilSent(rig.proxy, bucket.name, { small: 100, parts: 2 });
    await rig.client.jobs.cancel(id);
    const asked = performance.now();
    await expect(rig.client.jobs.result(id)).rejects.toMatchObject({ code: 'Cancelled' });
    const took = performance.now() - asked;
    expect(took).toBeLessThan(5000);
    const { length } = puts(rig.proxy, bucket.name);
    expect((await rig.client.jobs.viewJob(id)).state).toBe('CANCELLED');
    // Its large file is not there; that nothing is left of it, the bucket's own check says.
    expect(await keysIn(bucket)).not.toContain('in/large.bin');
    await stays(() => puts(rig.proxy, bucket.name).length === length, 500, 'no PUT begun');
    console.info(`ended ${(took / 1000).toFixed(1)} s after the cancel`);
  });

  it('keeps a bandwidth that it is given on the way from 3 s later, whatever number of workers', async () => {
    const limit = 2 * MiB;
    rig.proxy.fault({ op: 'PutObject' }, faults.bandwidth(12 * MiB));
    await startWorker(rig.surroundings);
    const { id, bucket, files } = await begin({ files: 160, size: 512 * KiB });
    await untilSent(rig.proxy, bucket.name, { small: 10 });
    expect(await setLimits(db, id, { bandwidth: limit })).toBe(true);
    await atLeast(3000, performance.now());
    const from = { at: performance.now(), bytes: rig.proxy.bytesReceived };
    await atLeast(4000, from.at);
    const rate = ((rig.proxy.bytesReceived - from.bytes) * 1000) / (performance.now() - from.at);
    console.info(`${(rate / MiB).toFixed(2)} MiB/s under a limit of ${limit / MiB}`);
    expect(rate).toBeLessThan(1.25 * limit);
    expect(rate).toBeGreaterThan(0.5 * limit);
    expect(await setLimits(db, id, { bandwidth: null })).toBe(true);
    rig.proxy.clearFaults();
    await rig.client.jobs.result(id);
    await expectExact(db, id, files, bucket);
  });
});

interface ApiChild {
  url: string;
  process: TestProcess;
}

async function startApi(): Promise<ApiChild> {
  const child = startLongshore(['api', '--port', '0'], rig.surroundings);
  const [, url = ''] = await child.said(/answers on (http:\S+?),/, { timeout: 60_000 });
  return { url, process: child };
}

async function view(url: string, id: string): Promise<Record<string, unknown>> {
  const answer = await fetch(`${url}/api/v1/uploads/${id}`);
  expect(answer.status).toBe(200);
  return (await answer.json()) as Record<string, unknown>;
}

function report(what: string, since: number, bucket: TestBucket): void {
  const { objects, parts, earliest } = sentTwice(rig.proxy, bucket.name, since);
  const next = puts(rig.proxy, bucket.name).find(({ at, status }) => at > since && status === 200);
  const later = (((next?.at ?? since) - since) / 1000).toFixed(1);
  console.info(
    `${what} killed: ${objects} objects and ${parts} parts sent twice, ` +
      `the earliest begun ${Math.round(earliest)} ms before; went on after ${later} s`,
  );
}
