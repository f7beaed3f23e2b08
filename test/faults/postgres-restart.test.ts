/** PostgreSQL is stopped as by `pg_ctl stop -m immediate` in the middle of an upload, and started again. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { GiB, MiB } from '../../src/core/limits.js';
import { startGuard, type Guard } from '../../src/dev/guard.js';
import {
  newPassword,
  startPostgres,
  type PostgresPart,
  type StartPostgresOptions,
} from '../../src/dev/parts/postgres.js';
import { pickPort } from '../../src/dev/ports.js';
import { faults } from '../helpers/fault-proxy.js';
import { lastJson, longshore, startWorker } from '../helpers/processes.js';
import { registerProcess } from '../helpers/registry.js';
import { keysIn, objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { bytesTwice } from '../helpers/sent.js';
import { eventually, stays } from '../helpers/wait.js';

const OUTAGE_MS = 10_000;

let folder: string;
let guard: Guard;
let options: StartPostgresOptions;
let postgres: PostgresPart;
let rig: Rig;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-postgres-'));
  // PostgreSQL runs as another user when root starts it, and has to reach its data.
  await chmod(folder, 0o755);
  guard = startGuard();
  const common = { dataDir: folder, env: process.env, log: () => undefined, guard };
  options = { ...common, port: await pickPort(), password: newPassword() };
  await start();
  rig = await startRig({ worker: false, postgres: postgres.url });
});
afterAll(async () => {
  await rig.close();
  await postgres.stop();
  await guard.close();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  postgres = await startPostgres(options);
  registerProcess(postgres.pid, 'PostgreSQL of a fault test');
}

/** What `pg_ctl stop -m immediate` does: no checkpoint, every session cut. */
async function stopImmediately(): Promise<number> {
  process.kill(postgres.pid, 'SIGQUIT');
  await postgres.exited;
  return performance.now();
}

async function untilOutageIsOver(since: number): Promise<void> {
  await eventually(() => performance.now() - since > OUTAGE_MS, { timeout: 2 * OUTAGE_MS });
}

it('at half of 1 GiB, until after the last byte: the upload completes once it is back, and its row is exact', async () => {
  const file = await rig.bigFile(GiB);
  const bucket = await rig.bucket();
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(150 * MiB));
  const worker = await startWorker(rig.surroundings);
  const { id } = await rig.start(file, bucket);
  await reached(rig.client, id, file.size / 2);
  const stopped = await stopImmediately();
  // The bytes do not wait for the catalog; the end does.
  await eventually(async () => (await keysIn(bucket)).includes(file.name), {
    timeout: 60_000,
    what: 'the object',
  });
  expect((await rig.client.view(id)).closedAt).toBeUndefined();
  const status = await longshore(['status', id, '--json'], rig.surroundings);
  expect(status).toMatchObject({ code: 0, stderr: expect.stringContaining('warning') as string });
  expect(lastJson(status.stdout)).toMatchObject({ id, progress: { bytesDone: file.size } });
  await untilOutageIsOver(stopped);
  await start();
  const result = await rig.client.result(id);
  expect(result).toMatchObject({
    size: file.size,
    bytesSent: file.size,
    verification: 'full',
    generations: 1,
  });
  expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  expect(bytesTwice(rig.proxy, bucket.name, file.size)).toBe(0);
  const { etag, checksum, bytesSent, parts } = result;
  expect(await rig.row(id)).toMatchObject({
    ...{ state: 'COMPLETED', bucket: bucket.name, key: file.name, size: file.size },
    ...{ etag, checksum, bytesSent, parts, attempts: 1, generations: 1, failure: null },
    finishedAt: expect.any(String) as string,
  });
  expect(worker.running).toBe(true);
});

it('before an upload is started: nothing is sent that the catalog does not know of, and it completes after', async () => {
  const file = await rig.file(20 * MiB);
  const bucket = await rig.bucket();
  const worker = await startWorker(rig.surroundings);
  const stopped = await stopImmediately();
  const { id } = await rig.start(file, bucket);
  await stays(
    () => rig.proxy.calls('CreateMultipartUpload', { bucket: bucket.name }) === 0,
    3000,
    'no upload unknown',
  );
  await untilOutageIsOver(stopped);
  await start();
  const result = await rig.client.result(id);
  expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  expect(await rig.row(id)).toMatchObject({ state: 'COMPLETED', etag: result.etag, attempts: 1 });
  expect(worker.running).toBe(true);
});
