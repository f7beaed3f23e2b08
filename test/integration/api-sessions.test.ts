/** Sessions over the REST API on real servers: chunks in any order and at once, again, damaged, missing, and whole payloads. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createConnection } from 'node:net';
import { crc32 } from 'node:zlib';
import { HeadObjectCommand, ListPartsCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { addApiKey } from '../../src/infra/catalog/api-keys.js';
import { getNode } from '../../src/infra/catalog/nodes.js';
import { getSession } from '../../src/infra/catalog/sessions.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { type Answer, type Json, type TestApi } from '../helpers/api.js';
import { faults } from '../helpers/fault-proxy.js';
import { keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { eventually } from '../helpers/wait.js';

const CHUNK = 5 * MiB;

let rig: Rig;
let db: Pool;

beforeAll(async () => {
  rig = await startRig();
  db = createPool(rig.config.postgresUrl ?? '', { max: 2 });
});
afterAll(async () => {
  await db.end();
  await rig.close();
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function crcOf(bytes: Uint8Array): string {
  const four = Buffer.alloc(4);
  four.writeUInt32BE(crc32(bytes));
  return four.toString('base64');
}

/** Chunk `n` of the object. */
const cut = (bytes: Buffer, n: number): Buffer => bytes.subarray(n * CHUNK, (n + 1) * CHUNK);

async function putChunk(
  api: TestApi,
  id: string,
  n: number,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await fetch(`${api.url}/api/v1/sessions/${id}/chunks/${n}`, {
    method: 'PUT',
    headers,
    body,
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: JSON.parse(text) as Json, text };
}

/** A session for these bytes, of chunks of 5 MiB. */
async function begun(scene: SessionScene, size: number | undefined, body: Json = {}) {
  const { upload_id: id } = await scene.begin({
    name: 'ship.bin',
    expected_size: size,
    chunk_size: CHUNK,
    ...body,
  });
  return String(id);
}

const complete = (api: TestApi, id: string, body?: Json) =>
  api.send('POST', `/api/v1/sessions/${id}/complete`, body);

describe('a session', () => {
  test('says what to send, what it has received and what it lacks', async () => {
    const scene = await sessionScene(rig);
    const { api, bucket } = scene;
    const bytes = randomBytes(2 * CHUNK + 1234);
    const view = await scene.begin({
      ...{ name: 'Über the sea.pb', connector_id: 'crane-7', expected_size: bytes.length, chunk_size: CHUNK },
      metadata: { colour: 'blue' },
    });
    const id = String(view['upload_id']);
    const key = `connectors/crane-7/${id}.pb`;
    expect(view).toMatchObject({
      ...{ node_id: id, state: 'PENDING', bucket: bucket.name, key, chunk_size: CHUNK },
      ...{
        recommended_chunk_size: CHUNK,
        min_chunk_size: CHUNK,
        max_chunk_size: 500 * MiB,
        max_chunks: 10_000,
      },
      ...{ received: { count: 0, ranges: [] }, missing: { count: 3, ranges: [[0, 2]] }, generation: 1 },
    });
    const answer = await putChunk(api, id, 2, cut(bytes, 2));
    expect(answer).toMatchObject({
      status: 200,
      body: { chunk: 2, size: 1234, checksum: `crc32:${crcOf(cut(bytes, 2))}` },
    });
    await putChunk(api, id, 0, cut(bytes, 0));
    expect(await scene.session(id)).toMatchObject({
      ...{
        state: 'UPLOADING',
        received: {
          count: 2,
          ranges: [
            [0, 0],
            [2, 2],
          ],
        },
      },
      ...{ received_bytes: CHUNK + 1234, missing: { count: 1, ranges: [[1, 1]] } },
    });
    const listed = (await api.get(`/api/v1/sessions/?bucket=${bucket.name}`)).body['sessions'];
    expect(listed).toMatchObject([
      { upload_id: id, received: { count: 2 }, received_bytes: CHUNK + 1234, missing: { count: 1 } },
    ]);
    await putChunk(api, id, 1, cut(bytes, 1));
    const done = await complete(api, id, {
      size: bytes.length,
      chunks: 3,
      checksum: `crc32:${crcOf(bytes)}`,
    });
    expect(done).toMatchObject({
      status: 200,
      body: {
        ...{
          state: 'COMPLETED',
          size: bytes.length,
          checksum: `crc32:${crcOf(bytes)}`,
          verification: 'full',
        },
        ...{ location: `s3://${bucket.name}/${key}`, received: { count: 3, ranges: [[0, 2]] } },
        ...{ missing: { count: 0, ranges: [] }, error_message: null, expires_at: null },
      },
    });
    expect(done.body['completed_at']).toMatch(/^\d{4}-/);
    const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: key }));
    expect(head.Metadata).toMatchObject({
      ...{
        'node-id': id,
        'connector-id': 'crane-7',
        'original-name': '%C3%9Cber the sea.pb',
        colour: 'blue',
      },
      'longshore-upload-id': `upload/${id}`,
    });
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
  });

  test('takes chunks in reverse order and at once, of any type that they say they are', async () => {
    const scene = await sessionScene(rig);
    const bytes = randomBytes(6 * CHUNK);
    const id = await begun(scene, bytes.length, { key: 'reverse.bin' });
    const types = [
      'application/octet-stream',
      'application/json',
      'text/plain',
      'multipart/form-data',
      'image/png',
    ];
    for (const n of [5, 4])
      await putChunk(scene.api, id, n, cut(bytes, n), { 'content-type': types[n - 1] ?? '' });
    const answers = await Promise.all(
      [3, 2, 1, 0].map((n) => putChunk(scene.api, id, n, cut(bytes, n), { 'content-type': types[n] ?? '' })),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(await complete(scene.api, id)).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    expect(await objectSha256(scene.bucket, 'reverse.bin')).toBe(sha256(bytes));
  });

  test('counts the bytes that came last of a chunk that came twice', async () => {
    const scene = await sessionScene(rig);
    const [first, last] = [randomBytes(CHUNK), randomBytes(CHUNK)];
    const tail = randomBytes(10);
    const id = await begun(scene, CHUNK + 10, { key: 'twice.bin' });
    expect((await putChunk(scene.api, id, 0, first)).status).toBe(200);
    await putChunk(scene.api, id, 1, tail);
    expect((await putChunk(scene.api, id, 0, last)).status).toBe(200);
    expect((await complete(scene.api, id)).status).toBe(200);
    expect(await objectSha256(scene.bucket, 'twice.bin')).toBe(sha256(Buffer.concat([last, tail])));
  });

  test('lets the newer of two requests for a chunk win, while the older is on its way', async () => {
    const scene = await sessionScene(rig);
    const bytes = randomBytes(CHUNK);
    const id = await begun(scene, CHUNK, { key: 'newer.bin' });
    const older = slowly(scene.api, `/api/v1/sessions/${id}/chunks/0`, CHUNK);
    older.write(Buffer.alloc(MiB));
    await eventually(async () => (await getSession(db, id))?.begun === true, { what: 'the first byte' });
    expect((await putChunk(scene.api, id, 0, bytes)).status).toBe(200);
    older.write(Buffer.alloc(CHUNK - MiB));
    expect(await older.answer()).toMatch(/^HTTP\/1\.1 409 [^]*ChunkSuperseded/);
    expect((await complete(scene.api, id)).status).toBe(200);
    expect(await objectSha256(scene.bucket, 'newer.bin')).toBe(sha256(bytes));
  });

  test('names what is missing at its completion, and goes on', async () => {
    const scene = await sessionScene(rig);
    const bytes = randomBytes(3 * CHUNK);
    const id = await begun(scene, bytes.length, { key: 'missing.bin' });
    expect(await complete(scene.api, id)).toMatchObject({
      status: 409,
      body: { code: 'PartsMissing', missing: [0, 1, 2], missing_count: 3 },
    });
    await putChunk(scene.api, id, 1, cut(bytes, 1));
    const refused = await complete(scene.api, id);
    expect(refused).toMatchObject({ status: 409, body: { code: 'PartsMissing', missing: [0, 2] } });
    expect(refused.body['detail']).toContain('0, 2');
    await putChunk(scene.api, id, 0, cut(bytes, 0));
    await putChunk(scene.api, id, 2, cut(bytes, 2));
    expect((await complete(scene.api, id)).status).toBe(200);
    // Once more it is the same answer.
    expect(await complete(scene.api, id)).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    expect(await objectSha256(scene.bucket, 'missing.bin')).toBe(sha256(bytes));
  });

  test('of unknown size is as long as what was sent', async () => {
    const scene = await sessionScene(rig, { LONGSHORE_EXPECTED_MAX: '1GiB' });
    const bytes = randomBytes(2 * CHUNK + 7);
    const id = await begun(scene, undefined, { key: 'unknown.bin' });
    expect((await scene.session(id))['missing']).toBeNull();
    for (const n of [0, 1, 2]) await putChunk(scene.api, id, n, cut(bytes, n));
    expect(await complete(scene.api, id, { chunks: 4 })).toMatchObject({
      status: 409,
      // The last of three is too short to be the third of four.
      body: { missing: [2, 3] },
    });
    expect(await complete(scene.api, id, { chunks: 3, size: bytes.length + 1 })).toMatchObject({
      status: 409,
      body: { code: 'SizeMismatch' },
    });
    expect(await complete(scene.api, id)).toMatchObject({ status: 200, body: { size: bytes.length } });
    expect(await objectSha256(scene.bucket, 'unknown.bin')).toBe(sha256(bytes));
  });

  test.each([
    ['known', 0],
    ['unknown', undefined],
  ])('of %s size may have no byte at all', async (_what, size) => {
    const scene = await sessionScene(rig);
    const id = await begun(scene, size, { key: 'empty.bin' });
    expect(await complete(scene.api, id, { size: 0, chunks: 0 })).toMatchObject({
      status: 200,
      body: { size: 0 },
    });
    expect(await objectSha256(scene.bucket, 'empty.bin')).toBe(sha256(Buffer.alloc(0)));
  });

  test('leaves nothing when it is cancelled, and is not cancelled once complete', async () => {
    const scene = await sessionScene(rig);
    const id = await begun(scene, 2 * CHUNK, { key: 'cancelled.bin' });
    await putChunk(scene.api, id, 0, randomBytes(CHUNK));
    expect(await scene.api.send('DELETE', `/api/v1/sessions/${id}`)).toMatchObject({
      status: 200,
      body: { upload_id: id, status: 'cancelled' },
    });
    expect((await scene.api.send('POST', `/api/v1/sessions/${id}/cancel`)).status).toBe(200);
    expect(await scene.session(id)).toMatchObject({ state: 'CANCELLED', error_code: 'Cancelled' });
    expect(await putChunk(scene.api, id, 1, randomBytes(CHUNK))).toMatchObject({
      status: 409,
      body: { code: 'NotRunning' },
    });
    expect(await keysIn(scene.bucket)).toEqual([]);

    const whole = await begun(scene, 3, { key: 'done.bin' });
    await putChunk(scene.api, whole, 0, Buffer.from('abc'));
    await complete(scene.api, whole);
    expect(await scene.api.send('POST', `/api/v1/sessions/${whole}/cancel`)).toMatchObject({
      status: 409,
      body: { code: 'AlreadyCompleted' },
    });
    expect(await scene.api.send('POST', '/api/v1/sessions/nobody/cancel')).toMatchObject({ status: 404 });
  });

  test('is begun once for the same id, however often it is asked for', async () => {
    const scene = await sessionScene(rig);
    const id = `chosen-${randomUUID()}`;
    const ask = { upload_id: id, name: 'x', key: 'same.bin', expected_size: 3 };
    const answers = await Promise.all(Array.from({ length: 5 }, () => scene.begin(ask)));
    expect(new Set(answers.map(({ upload_id: each }) => each))).toEqual(new Set([id]));
    expect(await scene.api.send('POST', '/api/v1/sessions/', { ...ask, key: 'other.bin' })).toMatchObject({
      status: 409,
      body: { code: 'Conflict' },
    });
    await putChunk(scene.api, id, 0, Buffer.from('abc'));
    await complete(scene.api, id);
    expect(await scene.api.send('POST', '/api/v1/sessions/', ask)).toMatchObject({
      status: 200,
      body: { upload_id: id, state: 'COMPLETED' },
    });
    const key = randomUUID();
    const idempotent = () =>
      scene.api.send('POST', '/api/v1/sessions/', { name: 'y', key: 'y' }, { 'idempotency-key': key });
    const [one, two] = [await idempotent(), await idempotent()];
    expect(one.body['upload_id']).toMatch(/^i-/);
    expect(two.body['upload_id']).toBe(one.body['upload_id']);
    await scene.api.send('DELETE', `/api/v1/sessions/${String(one.body['upload_id'])}`);
  });

  test('is begun fifty times at once', async () => {
    const scene = await sessionScene(rig);
    const tag = randomUUID().slice(0, 8);
    const ids = Array.from({ length: 50 }, (_, n) => `${tag}-${n}`);
    // A machine that is busy says so, and the same request again is the same session.
    const begin = (id: string) =>
      eventually(
        async () => {
          const ask = { upload_id: id, name: id, key: `many/${id}`, expected_size: 1 };
          const { status } = await scene.api.send('POST', '/api/v1/sessions/', ask);
          if (status !== 503) expect(status).toBe(200);
          return status === 200;
        },
        { timeout: 90_000, what: `session ${id}` },
      );
    await Promise.all(ids.map(begin));
    await Promise.all(
      ids.map(async (id) => {
        expect((await putChunk(scene.api, id, 0, Buffer.from('x'))).status).toBe(200);
        expect((await complete(scene.api, id)).status).toBe(200);
      }),
    );
    expect((await keysIn(scene.bucket)).length).toBe(50);
    const page = await scene.api.get(
      `/api/v1/sessions/?bucket=${scene.bucket.name}&limit=20&state=COMPLETED`,
    );
    expect((page.body['sessions'] as Json[]).length).toBe(20);
    const next = await scene.api.get(
      `/api/v1/sessions/?bucket=${scene.bucket.name}&limit=1000&cursor=${String(page.body['next_cursor'])}`,
    );
    expect((next.body['sessions'] as Json[]).length).toBe(30);
  });

  test('begins anew when its multipart upload is lost, and says so', async () => {
    const scene = await sessionScene(rig);
    const bytes = randomBytes(CHUNK + 1);
    const id = await begun(scene, bytes.length, { key: 'lost.bin' });
    await putChunk(scene.api, id, 1, cut(bytes, 1));
    rig.proxy.fault(
      { op: 'UploadPart', bucket: scene.bucket.name, times: 1 },
      faults.status(404, 'NoSuchUpload'),
    );
    expect(await putChunk(scene.api, id, 0, cut(bytes, 0))).toMatchObject({
      status: 409,
      body: { code: 'NoSuchUpload' },
    });
    const again = await eventually(async () => {
      const view = await scene.session(id);
      return view['generation'] === 2 ? view : undefined;
    });
    expect(again).toMatchObject({ received: { count: 0 }, missing: { count: 2 } });
    for (const n of [0, 1]) expect((await putChunk(scene.api, id, n, cut(bytes, n))).status).toBe(200);
    expect(await complete(scene.api, id)).toMatchObject({ status: 200, body: { generation: 2 } });
    expect(await objectSha256(scene.bucket, 'lost.bin')).toBe(sha256(bytes));
  });
});

describe('a chunk', () => {
  test('of a wrong size is refused with the right one', async () => {
    const scene = await sessionScene(rig);
    const id = await begun(scene, CHUNK + 10);
    const refused = async (n: number, length: number) => {
      const answer = await putChunk(scene.api, id, n, Buffer.alloc(length));
      expect(answer).toMatchObject({ status: 422, body: { code: 'WrongChunkSize' } });
      return answer.body['detail'];
    };
    expect(await refused(0, CHUNK + 1)).toContain(`${CHUNK} bytes`);
    expect(await refused(0, CHUNK - 1)).toContain(`${CHUNK} bytes`);
    expect(await refused(1, 11)).toContain('10 bytes');
    expect(await refused(2, 1)).toContain('it has 2');
    expect((await scene.session(id))['received']).toEqual({ count: 0, ranges: [] });
    const view = await scene.begin({ name: 'unknown', chunk_size: CHUNK });
    const most = Number(view['chunk_size']);
    const answer = await putChunk(scene.api, String(view['upload_id']), 0, Buffer.alloc(most + 1));
    expect(answer).toMatchObject({ status: 422, body: { code: 'WrongChunkSize' } });
  });

  test('is held against every checksum that comes with it', async () => {
    const scene = await sessionScene(rig);
    const bytes = randomBytes(1000);
    const other = randomBytes(1000);
    const id = await begun(scene, bytes.length);
    const digest = (name: string, of: Buffer) => createHash(name).update(of).digest('base64');
    const headers = (of: Buffer): Record<string, string>[] => [
      { 'content-md5': digest('md5', of) },
      { 'x-amz-checksum-crc32': crcOf(of) },
      { 'x-amz-checksum-sha1': digest('sha1', of) },
      { 'x-amz-checksum-sha256': digest('sha256', of) },
      { 'content-digest': `sha-256=:${digest('sha256', of)}:, unixsum=:AAAA:` },
      { 'content-digest': `sha-512=:${digest('sha512', of)}:` },
    ];
    for (const right of headers(bytes))
      expect((await putChunk(scene.api, id, 0, bytes, right)).status).toBe(200);
    const before = await partsOf(scene, id);
    for (const wrong of headers(other)) {
      expect(await putChunk(scene.api, id, 0, bytes, wrong), JSON.stringify(wrong)).toMatchObject({
        status: 400,
        body: { code: 'ChunkDamaged' },
      });
    }
    expect(await partsOf(scene, id)).toEqual(before);
    const unread = [{ 'x-amz-checksum-crc64nvme': 'AAAAAAAAAAA=' }, { 'content-digest': 'nonsense' }];
    for (const each of unread) expect((await putChunk(scene.api, id, 0, bytes, each)).status).toBe(400);
    expect((await complete(scene.api, id)).status).toBe(200);
  });

  test('has to say how long it is', async () => {
    const scene = await sessionScene(rig);
    const id = await begun(scene, 10);
    const socket = slowly(scene.api, `/api/v1/sessions/${id}/chunks/0`, undefined);
    socket.write(Buffer.from('a\r\n0123456789\r\n0\r\n\r\n'));
    expect(await socket.answer()).toMatch(/^HTTP\/1\.1 411 [^]*LengthRequired/);
  });

  test('that breaks off, or falls silent, leaves nothing; the next is taken', async () => {
    const scene = await sessionScene(rig, { LONGSHORE_SESSION_IDLE: '300ms' });
    const bytes = randomBytes(CHUNK);
    const id = await begun(scene, CHUNK, { key: 'broken.bin' });
    const path = `/api/v1/sessions/${id}/chunks/0`;
    const broken = slowly(scene.api, path, CHUNK);
    broken.write(Buffer.alloc(MiB));
    await eventually(async () => (await getSession(db, id))?.begun === true);
    broken.reset();
    const silent = slowly(scene.api, path, CHUNK);
    silent.write(Buffer.alloc(MiB));
    expect(await silent.answer()).toMatch(/^HTTP\/1\.1 400 [^]*ChunkDamaged[^]*nothing came/);
    expect(await scene.session(id)).toMatchObject({ state: 'UPLOADING', received: { count: 0 } });
    expect(await partsOf(scene, id)).toEqual([]);
    expect((await putChunk(scene.api, id, 0, bytes)).status).toBe(200);
    expect((await complete(scene.api, id)).status).toBe(200);
    expect(await objectSha256(scene.bucket, 'broken.bin')).toBe(sha256(bytes));
  });

  test('may take longer than any other request, as long as it moves', async () => {
    const scene = await sessionScene(rig, { LONGSHORE_SESSION_IDLE: '1s' });
    // Longer than the session would live without it, too.
    const id = await begun(scene, 10, { key: 'slow.bin', ttl: 2 });
    const slow = slowly(scene.api, `/api/v1/sessions/${id}/chunks/0`, 10);
    for (let byte = 0; byte < 10; byte++) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      slow.write(Buffer.from([byte]));
    }
    expect(await slow.answer()).toMatch(/^HTTP\/1\.1 200 /);
    expect((await complete(scene.api, id)).status).toBe(200);
  });
});

describe('a payload', () => {
  test('in the request is one PutObject, and complete with its answer', async () => {
    const scene = await sessionScene(rig);
    const puts = () => rig.proxy.calls('PutObject', { bucket: scene.bucket.name });
    const bytes = randomBytes(100_000);
    const ask = { upload_id: randomUUID(), name: 'small.pb', connector_id: 'crane', content_type: 'x/y' };
    const view = await scene.begin({ ...ask, payload: bytes.toString('base64') });
    expect(view).toMatchObject({
      ...{ state: 'COMPLETED', size: bytes.length, mode: 'whole', checksum: `crc32:${crcOf(bytes)}` },
      ...{ verification: 'full', key: `connectors/crane/${ask.upload_id}.pb` },
    });
    expect(await objectSha256(scene.bucket, String(view['key']))).toBe(sha256(bytes));
    await scene.begin({ ...ask, payload: bytes.toString('base64') });
    expect(puts()).toBe(1);
    const other = { ...ask, payload: randomBytes(100_000).toString('base64') };
    expect(await scene.api.send('POST', '/api/v1/sessions/', other)).toMatchObject({ status: 409 });
    expect(rig.proxy.calls('CreateMultipartUpload', { bucket: scene.bucket.name })).toBe(0);
  });

  test('as the body is passed on, up to the threshold', async () => {
    const scene = await sessionScene(rig, { LONGSHORE_SESSION_PAYLOAD_MAX: '8MiB' });
    const bytes = randomBytes(8 * MiB);
    const send = (body: Uint8Array, headers: Record<string, string> = {}) =>
      fetch(`${scene.api.url}/api/v1/sessions/payload?name=whole.bin&key=whole.bin`, {
        method: 'POST',
        headers: { 'content-type': 'image/x-ship', ...headers },
        body,
      });
    const damaged = await send(bytes, { 'content-md5': createHash('md5').update('other').digest('base64') });
    expect(damaged.status).toBe(400);
    expect(await keysIn(scene.bucket)).toEqual([]);
    const list = (await scene.api.get(`/api/v1/sessions/?bucket=${scene.bucket.name}`)).body['sessions'];
    expect(list).toMatchObject([{ state: 'CANCELLED' }]);
    const answer = await send(bytes);
    expect(await answer.json()).toMatchObject({
      ...{ state: 'COMPLETED', size: bytes.length, content_type: 'image/x-ship', verification: 'full' },
    });
    expect(await objectSha256(scene.bucket, 'whole.bin')).toBe(sha256(bytes));
    expect((await send(Buffer.alloc(8 * MiB + 1))).status).toBe(413);
  });
});

describe('who may', () => {
  test('is asked by grants, and what others have is not there', async () => {
    const scene = await sessionScene(rig);
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
    const grant = (prefix: string) => [{ bucket: scene.bucket.name, prefix }];
    const mine = bearer((await addApiKey(db, { name: 'mine', grants: grant('mine/') })).token);
    const theirs = bearer((await addApiKey(db, { name: 'theirs', grants: grant('theirs/') })).token);
    const ask = { name: 'x', key: 'mine/x', expected_size: 1 };
    expect(await scene.api.send('POST', '/api/v1/sessions/', ask, theirs)).toMatchObject({ status: 403 });
    const { body } = await scene.api.send('POST', '/api/v1/sessions/', ask, mine);
    const path = `/api/v1/sessions/${String(body['upload_id'])}`;
    expect((await scene.api.get(path, mine)).status).toBe(200);
    expect((await scene.api.get(path, theirs)).status).toBe(404);
    // The id of somebody else's node is not theirs to begin with, nor its key theirs to move.
    const node = 'taken-node';
    const row = [node, 'x', scene.bucket.name, 'mine/node'];
    await db.query({
      text: `INSERT INTO nodes (node_id, name, bucket, key, status) VALUES ($1, $2, $3, $4, 'FAILED')`,
      values: row,
    });
    const moved = { ...ask, upload_id: node, key: 'theirs/x' };
    const taken = await scene.api.send('POST', '/api/v1/sessions/', moved, theirs);
    expect(taken).toMatchObject({ status: 409, body: { code: 'Conflict' } });
    const next = { name: 'x', node_id: node };
    const unknown = await scene.api.send('POST', '/api/v1/sessions/', next, theirs);
    expect(unknown).toMatchObject({ status: 404, body: { code: 'NotFound' } });
    for (const { text } of [taken, unknown]) {
      expect(text).not.toContain(scene.bucket.name);
      expect(text).not.toContain('mine/');
    }
    expect(await getNode(db, node)).toMatchObject({ key: 'mine/node', status: 'FAILED' });
    expect((await scene.api.get('/api/v1/sessions/', theirs)).body['sessions']).toEqual([]);
    expect((await putChunk(scene.api, String(body['upload_id']), 0, Buffer.from('x'), theirs)).status).toBe(
      404,
    );
    expect((await scene.api.send('DELETE', path, undefined, theirs)).status).toBe(404);
    expect((await scene.api.send('DELETE', path, undefined, mine)).status).toBe(200);
  });

  test('send a customer’s key is who comes over TLS or loopback, by no proxy', async () => {
    const scene = await sessionScene(rig);
    const key = randomBytes(32);
    const ask = {
      ...{ name: 'x', expected_size: 1 },
      encryption: {
        ...{ type: 'SSE_C', customer_key_b64: key.toString('base64') },
        customer_key_md5: createHash('md5').update(key).digest('base64'),
      },
    };
    const relayed = await scene.api.send('POST', '/api/v1/sessions/', ask, { 'x-forwarded-for': '10.0.0.1' });
    expect(relayed).toMatchObject({ status: 403, body: { code: 'InsecureTransport' } });
    const wrong = { ...ask.encryption, customer_key_md5: createHash('md5').update('no').digest('base64') };
    const refused = await scene.api.send('POST', '/api/v1/sessions/', { ...ask, encryption: wrong });
    expect(refused).toMatchObject({ status: 422, body: { code: 'Contradictory' } });
    expect(refused.text).not.toContain(key.toString('base64'));
  });
});

async function partsOf(scene: SessionScene, id: string): Promise<(string | undefined)[]> {
  const row = await getSession(db, id);
  const { Parts = [] } = await scene.bucket.client.send(
    new ListPartsCommand({ Bucket: row?.bucket, Key: row?.key, UploadId: row?.s3UploadId ?? '' }),
  );
  return Parts.map(({ ETag }) => ETag);
}

/** A request whose body is written bit by bit; without a length it says `chunked`. */
function slowly(api: TestApi, path: string, length: number | undefined) {
  const { hostname, port, host } = new URL(api.url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  onTestFinished(() => void socket.destroy());
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
  socket.on('error', () => undefined);
  const size = length === undefined ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`;
  socket.write(`PUT ${path} HTTP/1.1\r\nHost: ${host}\r\n${size}\r\n\r\n`);
  return {
    write: (bytes: Buffer) => socket.write(bytes),
    reset: () => socket.resetAndDestroy(),
    answer: () =>
      eventually(() => (/\r\n\r\n[^]*\}/.test(text) ? text : undefined), {
        timeout: 20_000,
        what: 'an answer',
      }),
  };
}
