/** Ids of sessions that have ended: nobody else's to begin with, and no way to write over what is there. */
import { randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addApiKey } from '../../src/infra/catalog/api-keys.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { getSession } from '../../src/infra/catalog/sessions.js';
import type { Json } from '../helpers/api.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { forgetWorkflow } from '../helpers/temporal.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;
let db: Pool;

beforeAll(async () => {
  rig = await startRig();
  db = catalogOf(rig);
});
afterAll(async () => {
  await db.end();
  await rig.close();
});

const begin = (scene: SessionScene, body: Json, headers?: Record<string, string>) =>
  scene.api.send('POST', '/api/v1/sessions/', body, headers);
const putsOf = ({ bucket }: SessionScene) => rig.proxy.calls('PutObject', { bucket: bucket.name });

describe('the id of a session that has ended', () => {
  test('is not another’s to begin with', async () => {
    const scene = await sessionScene(rig);
    const grant = (prefix: string) => [{ bucket: scene.bucket.name, prefix }];
    const bearer = async (prefix: string) => {
      const { token } = await addApiKey(db, { name: prefix, grants: grant(prefix) });
      return { authorization: `Bearer ${token}` };
    };
    const [mine, theirs] = [await bearer('mine/'), await bearer('theirs/')];
    const id = randomUUID();
    const ask = { upload_id: id, name: 'x', key: 'mine/x', expected_size: 1 };
    expect((await begin(scene, ask, mine)).status).toBe(200);
    expect((await scene.api.send('DELETE', `/api/v1/sessions/${id}`, undefined, mine)).status).toBe(200);
    await eventually(async () => (await getSession(db, id))?.state === 'CANCELLED');
    const before = await getSession(db, id);

    const taken = { status: 409, body: { code: 'Conflict' } };
    const answer = await begin(scene, { ...ask, key: 'theirs/x' }, theirs);
    expect(answer).toMatchObject(taken);
    expect(answer.text).not.toContain('mine/');
    const object = {
      object_id: id,
      source: { kind: 'object', bucket: scene.bucket.name, key: 'theirs/y' },
      destination: { bucket: scene.bucket.name, key: 'theirs/x' },
    };
    expect(await scene.api.send('POST', '/api/v1/objects/', object, theirs)).toMatchObject(taken);
    const node = [randomUUID(), 'x', scene.bucket.name, 'theirs/z'];
    const text = `INSERT INTO nodes (node_id, name, bucket, key, status) VALUES ($1, $2, $3, $4, 'ACTIVE')`;
    await db.query({ text, values: node });
    const rotate = { upload_id: id, encryption: { type: 'SSE_S3' } };
    const path = `/api/v1/nodes/${String(node[0])}`;
    expect(await scene.api.send('POST', `${path}/rotate`, rotate, theirs)).toMatchObject(taken);
    const rollback = { upload_id: id, version_id: 'v1' };
    expect(await scene.api.send('POST', `${path}/rollback`, rollback, theirs)).toMatchObject(taken);
    expect(await getSession(db, id)).toEqual(before);
    // Who may may try again.
    const again = await begin(scene, ask, mine);
    expect(again).toMatchObject({ status: 200, body: { state: 'PENDING' } });
    expect((await scene.api.send('DELETE', `/api/v1/sessions/${id}`, undefined, mine)).status).toBe(200);
  });

  test('that is complete answers from its row, also when Temporal has forgotten it', async () => {
    const scene = await sessionScene(rig);
    const ask = { upload_id: randomUUID(), name: 'small.pb', key: 'k', metadata: { colour: 'blue' } };
    const payload = randomBytes(1000).toString('base64');
    const first = await begin(scene, { ...ask, payload });
    expect(first).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    await forgetWorkflow(rig.temporal.client, `upload/${ask.upload_id}`);
    expect(await begin(scene, { ...ask, payload })).toMatchObject({ status: 200, body: first.body });
    for (const other of [{ key: 'l' }, { metadata: {} }, { content_type: 'x/y' }, { name: 'n' }])
      expect(await begin(scene, { ...ask, ...other, payload })).toMatchObject({
        status: 409,
        body: { code: 'Conflict' },
      });
    expect(putsOf(scene)).toBe(1);
  });
});

describe('a payload under an id that is complete', () => {
  test('is read, and compared', async () => {
    const scene = await sessionScene(rig);
    const id = randomUUID();
    const bytes = randomBytes(3_000_000);
    const send = async (body: Uint8Array, headers: Record<string, string> = {}) => {
      const path = `/api/v1/sessions/payload?upload_id=${id}&name=p&key=p`;
      const answer = await fetch(scene.api.url + path, { method: 'POST', headers, body });
      return { status: answer.status, body: (await answer.json()) as Json };
    };
    expect(await send(bytes)).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    expect(await send(bytes)).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    expect(await send(randomBytes(bytes.length))).toMatchObject({ status: 409, body: { code: 'Conflict' } });
    const claimed = { 'content-md5': randomBytes(16).toString('base64') };
    expect(await send(bytes, claimed)).toMatchObject({ status: 400, body: { code: 'ChunkDamaged' } });
    // Some servers tell no checksum: what is in one piece has its MD5 for an ETag.
    await db.query({ text: 'UPDATE object_uploads SET checksum = NULL WHERE id = $1', values: [id] });
    expect(await send(bytes)).toMatchObject({ status: 200 });
    expect(await send(randomBytes(bytes.length))).toMatchObject({ status: 409 });
    expect(putsOf(scene)).toBe(1);
  });

  test('that is on its way while the session is cancelled is told so', async () => {
    const scene = await sessionScene(rig);
    const id = randomUUID();
    let rest: () => void = () => undefined;
    const goOn = new Promise<void>((resolve) => (rest = resolve));
    const half = Buffer.alloc(1000, 1);
    const body = Readable.from(
      (async function* () {
        yield half;
        await goOn;
        yield half;
      })(),
    );
    const url = `${scene.api.url}/api/v1/sessions/payload?upload_id=${id}&name=late&key=late`;
    const headers = { 'content-length': '2000' };
    const sent = request(url, { method: 'POST', headers, body });
    const claims = async () => {
      const values = [id];
      const { rowCount } = await db.query({ text: 'SELECT 1 FROM session_parts WHERE session = $1', values });
      return rowCount === 1;
    };
    await eventually(claims, { timeout: 30_000, what: 'the claim' });
    expect((await scene.api.send('DELETE', `/api/v1/sessions/${id}`)).status).toBe(200);
    await eventually(async () => (await getSession(db, id))?.state === 'CANCELLED', { timeout: 30_000 });
    rest();
    const answer = await sent;
    expect(answer.statusCode).toBe(409);
    expect(await answer.body.json()).toMatchObject({
      code: 'NotRunning',
      detail: expect.stringContaining('cancelled while the object was on its way') as string,
    });
  });
});
