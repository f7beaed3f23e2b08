/** Sessions through what goes wrong around them: the client asks again, and ends with one object of the right bytes. */
import { createHash, randomBytes } from 'node:crypto';
import { createConnection } from 'node:net';
import { AbortMultipartUploadCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { readParts } from '../../src/infra/catalog/session-parts.js';
import type { Json } from '../helpers/api.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { startLongshore, startWorker, type TestProcess } from '../helpers/processes.js';
import { keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { startTcpProxy } from '../helpers/tcp-proxy.js';
import { eventually } from '../helpers/wait.js';

const CHUNK = 5 * MiB;
const BYTES = randomBytes(3 * CHUNK + MiB + 1000);
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

let rig: Rig;
let db: Pool;

beforeAll(async () => {
  rig = await startRig({ worker: false });
  db = createPool(rig.config.postgresUrl ?? '', { max: 2 });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await db.end();
  await rig.close();
});

interface ApiProcess {
  url: string;
  process: TestProcess;
}

/** A child, so that it can be killed; on the same port again when it has one. */
async function startApi(env: Record<string, string> = {}, port = '0'): Promise<ApiProcess> {
  const surroundings = {
    ...rig.surroundings,
    env: { ...rig.surroundings.env, ...env, LONGSHORE_API_PORT: port },
  };
  const child = startLongshore(['api', '--json'], surroundings);
  const [, url = ''] = await child.said(/"url":"(http:[^"]+)"/, { timeout: 60_000 });
  return { url, process: child };
}

async function ask(
  url: string,
  method: string,
  path: string,
  body?: Json,
): Promise<Json & { status: number }> {
  const answer = await fetch(`${url}/api/v1/sessions/${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  return { ...((await answer.json()) as Json), status: answer.status };
}

async function putChunk(url: string, id: string, chunk: number): Promise<number> {
  const body = BYTES.subarray(chunk * CHUNK, (chunk + 1) * CHUNK);
  const answer = await fetch(`${url}/api/v1/sessions/${id}/chunks/${chunk}`, { method: 'PUT', body });
  await answer.arrayBuffer();
  return answer.status;
}

async function begin(url: string, bucket: TestBucket, body: Json = {}): Promise<string> {
  const size = { expected_size: BYTES.length, chunk_size: CHUNK };
  const ask1 = { name: 'ship.bin', bucket: bucket.name, key: 'ship.bin', ...size, ...body };
  const { upload_id: id, status } = await ask(url, 'POST', '', ask1);
  expect(status).toBe(200);
  return String(id);
}

/** As a client does: again after what passes, and all that is missing. */
async function persist(url: () => string, id: string): Promise<Json> {
  const tried = async (): Promise<Json | undefined> => {
    try {
      const view = await ask(url(), 'GET', id);
      if (view.status !== 200) return undefined;
      const { ranges } = view['missing'] as { ranges: [number, number][] };
      for (const [first, last] of ranges)
        for (let chunk = first; chunk <= last; chunk++) await putChunk(url(), id, chunk);
      const done = await ask(url(), 'POST', `${id}/complete`, { size: BYTES.length });
      return done.status === 200 ? done : undefined;
    } catch (error) {
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  };
  return await eventually(tried, { timeout: 90_000, interval: 200, what: `session ${id} complete` });
}

async function expectOne(bucket: TestBucket, id: string): Promise<void> {
  expect(await keysIn(bucket)).toEqual(['ship.bin']);
  expect(await objectSha256(bucket, 'ship.bin')).toBe(SHA256);
  const { rows } = await db.query<{ events: string }>(
    `SELECT count(*) AS events FROM outbox WHERE type LIKE '%upload.completed' AND subject = $1`,
    [id],
  );
  expect(Number(rows[0]?.events)).toBe(1);
}

/** The head of a request for a chunk and some of its body, and no more. */
async function half(url: string, id: string, chunk: number) {
  const { hostname, port, host } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => undefined);
  socket.write(
    `PUT /api/v1/sessions/${id}/chunks/${chunk} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${CHUNK}\r\n\r\n`,
  );
  socket.write(BYTES.subarray(0, 2 * MiB));
  await eventually(
    () =>
      rig.proxy.log.some((call) => call.op === 'UploadPart' && call.part === chunk + 1 && call.bytes > MiB),
    { what: 'half a chunk at the server' },
  );
  return socket;
}

describe('kill -9 of the API in the middle of a chunk', () => {
  it('loses that chunk alone: what was acknowledged is there after its restart', async () => {
    const [bucket, first] = await Promise.all([rig.bucket(), startApi(), startWorker(rig.surroundings)]);
    const id = await begin(first.url, bucket);
    expect(await putChunk(first.url, id, 3)).toBe(200);
    await half(first.url, id, 1);
    await first.process.kill('SIGKILL');
    const second = await startApi({}, new URL(first.url).port);
    expect(await ask(second.url, 'GET', id)).toMatchObject({ received: { count: 1, ranges: [[3, 3]] } });
    const view = await persist(() => second.url, id);
    expect(view).toMatchObject({
      state: 'COMPLETED',
      size: BYTES.length,
      verification: 'full',
      generation: 1,
    });
    // The acknowledged chunk went to S3 once.
    expect(rig.proxy.parts({ bucket: bucket.name }).get(4)?.count).toBe(1);
    await expectOne(bucket, id);
  });
});

describe('kill -9 of the worker while it completes', () => {
  it.each([
    ['before S3 has done it', faults.stall()],
    ['after S3 has done it', faults.dropReply()],
  ])('%s: another ends it, and the client that asks again hears of it', async (_when, fault) => {
    const [bucket, api, first] = await Promise.all([rig.bucket(), startApi(), startWorker(rig.surroundings)]);
    const id = await begin(api.url, bucket);
    for (const chunk of [0, 1, 2, 3]) expect(await putChunk(api.url, id, chunk)).toBe(200);
    const struck = rig.proxy.fault({ op: 'CompleteMultipartUpload', bucket: bucket.name, times: 1 }, fault);
    const asked = ask(api.url, 'POST', `${id}/complete`).catch(() => undefined);
    await eventually(() => rig.proxy.calls('CompleteMultipartUpload', { bucket: bucket.name }) > 0, {
      what: 'Complete on its way',
    });
    await first.kill('SIGKILL');
    struck.remove();
    await startWorker(rig.surroundings);
    expect(await persist(() => api.url, id)).toMatchObject({ state: 'COMPLETED', verification: 'full' });
    await asked;
    await expectOne(bucket, id);
  });
});

describe('between the client, the API and S3', () => {
  it('connections that are reset, stalls and refusals cost a chunk at most', async () => {
    const [bucket, api] = await Promise.all([
      rig.bucket(),
      startApi({ LONGSHORE_S3_READ_TIMEOUT: '1s' }),
      startWorker(rig.surroundings),
    ]);
    const port = Number(new URL(api.url).port);
    const line = await startTcpProxy('127.0.0.1', port);
    onTestFinished(() => line.down());
    const id = await begin(api.url, bucket);
    const at = { op: 'UploadPart', bucket: bucket.name } as const;
    rig.proxy.fault({ ...at, part: 1, times: 1 }, faults.reset(MiB));
    rig.proxy.fault({ ...at, part: 2, times: 1 }, faults.stall({ afterBytes: MiB }));
    rig.proxy.fault({ ...at, part: 3, times: 1 }, faults.dropReply());
    rig.proxy.fault({ ...at, part: 4, times: 1 }, faults.status(503, 'SlowDown'));
    const statuses = await Promise.all([0, 1, 2, 3].map((chunk) => putChunk(api.url, id, chunk)));
    expect(statuses).toEqual([503, 503, 503, 503]);
    const cut = await half(`http://${line.address}`, id, 0);
    cut.resetAndDestroy();
    expect(await persist(() => api.url, id)).toMatchObject({ state: 'COMPLETED', generation: 1 });
    await expectOne(bucket, id);
  });

  it('a multipart upload that somebody aborted is begun anew, and every chunk asked for again', async () => {
    const [bucket, api] = await Promise.all([rig.bucket(), startApi(), startWorker(rig.surroundings)]);
    const id = await begin(api.url, bucket);
    for (const chunk of [0, 1]) expect(await putChunk(api.url, id, chunk)).toBe(200);
    const { rows } = await db.query<{ upload: string }>(
      'SELECT s3_upload_id AS upload FROM sessions WHERE id = $1',
      [id],
    );
    const upload = { Bucket: bucket.name, Key: 'ship.bin', UploadId: rows[0]?.upload };
    await bucket.client.send(new AbortMultipartUploadCommand(upload));
    expect(await putChunk(api.url, id, 2)).toBe(409);
    const view = await persist(() => api.url, id);
    expect(view).toMatchObject({ state: 'COMPLETED', generation: 2 });
    expect(await readParts(db, id, 1, { limit: 10 })).toEqual([]);
    await expectOne(bucket, id);
  });
});
