/** Temporal is killed hard in the middle of an upload, and started again on its file. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { DEFAULT_CONCURRENCY, DEFAULT_PART_SIZE, GiB, MiB } from '../../src/core/limits.js';
import { startGuard, type Guard } from '../../src/dev/guard.js';
import { startTemporal, type StartTemporalOptions, type TemporalPart } from '../../src/dev/parts/temporal.js';
import { pickPorts } from '../../src/dev/ports.js';
import { faults } from '../helpers/fault-proxy.js';
import { longshore, startWorker } from '../helpers/processes.js';
import { registerProcess } from '../helpers/registry.js';
import { keysIn, objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { bytesTwice, untilMidPart } from '../helpers/sent.js';
import { eventually } from '../helpers/wait.js';

/** Longer than the heartbeat timeout: to the server that comes back, every attempt is lost. */
const OUTAGE_MS = 10_000;
const IN_FLIGHT = DEFAULT_CONCURRENCY * DEFAULT_PART_SIZE;

let folder: string;
let guard: Guard;
let options: StartTemporalOptions;
let temporal: TemporalPart;
let rig: Rig;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-temporal-'));
  guard = startGuard();
  const [port = 0, uiPort = 0] = await pickPorts([[], []]);
  // The namespace of the test is used as soon as it is made.
  const dynamicConfig = ['system.namespaceCacheRefreshInterval="200ms"'];
  options = { dataDir: folder, env: process.env, log: () => undefined, guard, port, uiPort, dynamicConfig };
  await start();
  rig = await startRig({ worker: false, temporal: temporal.address });
});
afterAll(async () => {
  await rig.close();
  await temporal.stop();
  await guard.close();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  temporal = await startTemporal(options);
  registerProcess(temporal.pid, 'temporal of a fault test');
}

it('at half of 1 GiB, for 10 s: the upload goes on, and sends at most the parts in flight again', async () => {
  const file = await rig.bigFile(GiB);
  const bucket = await rig.bucket();
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(150 * MiB));
  const worker = await startWorker(rig.surroundings);
  const { id } = await rig.start(file, bucket);
  await reached(rig.client, id, file.size / 2);
  // Bytes move all through the outage.
  const slow = rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(30 * MiB));
  await untilMidPart(rig.proxy, bucket.name);
  temporal.kill();
  await temporal.exited;
  const killed = performance.now();
  const [asked, status] = await Promise.allSettled([
    rig.client.view(id),
    longshore(['status', id], rig.surroundings),
  ]);
  expect(asked).toMatchObject({ status: 'rejected', reason: { code: 'TemporalUnavailable' } });
  expect(status).toMatchObject({ status: 'fulfilled', value: { code: EXIT.unreachable, stdout: '' } });
  await eventually(() => performance.now() - killed > OUTAGE_MS, { timeout: 2 * OUTAGE_MS });
  await start();
  slow.remove();
  const result = await rig.client.result(id);
  expect(result).toMatchObject({ size: file.size, verification: 'full', generations: 1 });
  expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  expect(await keysIn(bucket)).toEqual([file.name]);
  const twice = bytesTwice(rig.proxy, bucket.name, file.size);
  console.info(`${(twice / MiB).toFixed(1)} MiB sent twice`);
  expect(twice).toBeLessThanOrEqual(IN_FLIGHT);
  expect(await rig.row(id)).toMatchObject({ state: 'COMPLETED', etag: result.etag, attempts: 1 });
  expect(worker.running).toBe(true);
  expect((await rig.client.view(id)).state).toBe('COMPLETED');
});
