/** tus while the API dies and S3 fails: what was acknowledged is there, and nothing else. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { TestBucket } from '../helpers/buckets.js';
import { startLongshore, type TestProcess } from '../helpers/processes.js';
import { faults } from '../helpers/faults.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import {
  metadataOf,
  OFFSET_STREAM,
  openPatch,
  someBytes,
  tusCaller,
  type TusCaller,
} from '../helpers/tus.js';
import { eventually } from '../helpers/wait.js';

const PART = 8 * MiB;

let rig: Rig;
beforeAll(async () => {
  rig = await startRig();
});
afterAll(() => rig.close());

interface ChildApi {
  url: string;
  tus: TusCaller;
  process: TestProcess;
}

async function startApi(): Promise<ChildApi> {
  const process = startLongshore(['api', '--port', '0'], rig.surroundings);
  const [, url = ''] = await process.said(/answers on (http:\S+?),/, { timeout: 60_000 });
  return { url, tus: tusCaller(url), process };
}

async function create(tus: TusCaller, bucket: TestBucket, length: number): Promise<string> {
  const metadata = metadataOf({ bucket: bucket.name, key: 'object' });
  const headers = { 'upload-metadata': metadata, 'upload-length': String(length) };
  const made = await tus('POST', '/files', { headers });
  expect(made).toMatchObject({ status: 201 });
  return made.headers.location ?? '';
}

function patch(tus: TusCaller, path: string, offset: number, body: Buffer) {
  return tus('PATCH', path, { headers: { ...OFFSET_STREAM, 'upload-offset': String(offset) }, body });
}

async function offsetOf(tus: TusCaller, path: string): Promise<number> {
  const { status, headers } = await tus('HEAD', path);
  expect(status).toBe(200);
  return Number(headers['upload-offset']);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

test('the API killed between and within requests: the offset is what is durable, and the bytes are right', async () => {
  const bucket = await rig.bucket();
  const bytes = someBytes(3 * PART + MiB + 7);
  const first = await startApi();
  const path = await create(first.tus, bucket, bytes.byteLength);
  expect(await patch(first.tus, path, 0, bytes.subarray(0, PART + MiB))).toMatchObject({ status: 204 });
  await first.process.kill();

  const second = await startApi();
  expect(await offsetOf(second.tus, path)).toBe(PART + MiB);
  const open = openPatch(second.url, path, PART + MiB, { 'content-length': String(2 * PART + 7) });
  await open.write(bytes.subarray(PART + MiB, 2 * PART + 3 * MiB));
  await eventually(() => rig.proxy.calls('UploadPart', { bucket: bucket.name }) === 2, {
    what: 'the second part',
  });
  await second.process.kill();
  await open.answered;

  const third = await startApi();
  const offset = await offsetOf(third.tus, path);
  // The second part was acknowledged by S3 or not yet by the catalog; of what follows it nothing was durable.
  expect([PART + MiB, 2 * PART]).toContain(offset);
  expect(await patch(third.tus, path, offset, bytes.subarray(offset))).toMatchObject({ status: 204 });
  expect(await objectSha256(bucket, 'object')).toBe(sha256(bytes));
  expect(rig.proxy.parts({ bucket: bucket.name }).get(1)?.count).toBe(1);
});

test('the API told to stop within a request keeps what it has, and waits for nobody', async () => {
  const bucket = await rig.bucket();
  const bytes = someBytes(PART + 3 * MiB);
  const first = await startApi();
  const path = await create(first.tus, bucket, bytes.byteLength);
  const open = openPatch(first.url, path, 0, { 'content-length': String(bytes.byteLength) });
  await open.write(bytes.subarray(0, PART + 2 * MiB));
  await eventually(() => rig.proxy.calls('UploadPart', { bucket: bucket.name }) === 1, {
    what: 'the first part',
  });
  const since = performance.now();
  await first.process.kill('SIGTERM');
  // Requests that are being answered have 10 s.
  expect(performance.now() - since).toBeLessThan(9_000);

  const second = await startApi();
  const offset = await offsetOf(second.tus, path);
  expect(offset).toBeGreaterThanOrEqual(PART);
  expect(offset).toBeLessThanOrEqual(PART + 2 * MiB);
  expect(await patch(second.tus, path, offset, bytes.subarray(offset))).toMatchObject({ status: 204 });
  expect(await objectSha256(bucket, 'object')).toBe(sha256(bytes));
  expect(rig.proxy.parts({ bucket: bucket.name }).get(1)?.count).toBe(1);
});

test('the API killed when all bytes are there and the object is not: whoever looks completes it', async () => {
  const bucket = await rig.bucket();
  const bytes = someBytes(PART + 5);
  const first = await startApi();
  const path = await create(first.tus, bucket, bytes.byteLength);
  const held = rig.proxy.fault(
    { op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 },
    faults.delay(3_000),
  );
  const answer = patch(first.tus, path, 0, bytes).catch((error: unknown) => error);
  await eventually(() => rig.proxy.calls('CompleteMultipartUpload', { bucket: bucket.name }) > 0, {
    timeout: 30_000,
  });
  await first.process.kill();
  expect(await answer).toBeInstanceOf(Error);

  const second = await startApi();
  expect(await offsetOf(second.tus, path)).toBe(bytes.byteLength);
  expect(await objectSha256(bucket, 'object')).toBe(sha256(bytes));
  held.remove();
});

test('S3 away: what was kept stays, the rest is refused, and it goes on later', async () => {
  const bucket = await rig.bucket();
  const bytes = someBytes(2 * PART + 9);
  const { tus } = await startApi();
  const path = await create(tus, bucket, bytes.byteLength);
  expect(await patch(tus, path, 0, bytes.subarray(0, MiB))).toMatchObject({ status: 204 });
  const away = rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.status(503, 'SlowDown'));
  const refused = await patch(tus, path, MiB, bytes.subarray(MiB));
  expect(refused).toMatchObject({ status: 503 });
  expect(refused.headers['retry-after']).toBeDefined();
  expect(await offsetOf(tus, path)).toBe(MiB);
  away.remove();
  expect(await patch(tus, path, MiB, bytes.subarray(MiB))).toMatchObject({ status: 204 });
  expect(await objectSha256(bucket, 'object')).toBe(sha256(bytes));
});
