/** Two requests that bring the same whole object, each by an API of its own: what is acknowledged is what is there. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { request } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { KiB, MiB } from '../../src/core/limits.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { getSession } from '../../src/infra/catalog/sessions.js';
import { apiOfTest, type Json, type TestApi } from '../helpers/api.js';
import { faults } from '../helpers/fault-proxy.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;
let db: Pool;

beforeAll(async () => {
  rig = await startRig();
  db = catalogOf(rig);
});
afterEach(() => rig.proxy.clearFaults());
afterAll(async () => {
  await db.end();
  await rig.close();
});

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Brought {
  status: number;
  body: Json;
}

async function bring(api: TestApi, id: string, body: Buffer | Readable, length: number): Promise<Brought> {
  const url = `${api.url}/api/v1/sessions/payload?upload_id=${id}&name=n&key=k`;
  const headers = { 'content-length': String(length) };
  const { statusCode, body: said } = await request(url, { method: 'POST', headers, body });
  return { status: statusCode, body: (await said.json()) as Json };
}

async function claims(id: string): Promise<number> {
  const { rows } = await db.query<{ claim: number }>({
    text: 'SELECT claim FROM session_parts WHERE session = $1',
    values: [id],
  });
  return rows[0]?.claim ?? 0;
}

/** One that has come as far as half of its bytes. */
async function bringHalf(scene: SessionScene, id: string, bytes: Buffer) {
  let rest: () => void = () => undefined;
  const goOn = new Promise<void>((resolve) => (rest = resolve));
  onTestFinished(rest);
  const half = bytes.length / 2;
  const body = Readable.from(
    (async function* () {
      yield bytes.subarray(0, half);
      await goOn;
      yield bytes.subarray(half);
    })(),
  );
  const answer = bring(scene.api, id, body, bytes.length);
  await eventually(async () => (await claims(id)) === 1, { timeout: 30_000, what: 'the claim' });
  return { rest, answer };
}

async function twoApis() {
  const scene = await sessionScene(rig);
  const env = { LONGSHORE_SESSION_BUCKET: scene.bucket.name };
  return { scene, other: await apiOfTest(rig.surroundings, { env }), id: randomUUID() };
}

const putsOf = ({ bucket }: SessionScene) =>
  rig.proxy.log.filter(({ op, bucket: at }) => op === 'PutObject' && at === bucket.name);

describe('a whole object that comes twice', () => {
  test.each([
    ['held until it is whole', 2 * KiB],
    ['passed on as it comes', 3 * MiB],
  ])('stays as it was acknowledged, though the first request ends last: %s', async (_how, size) => {
    const { scene, other, id } = await twoApis();
    const [late, kept] = [randomBytes(size), randomBytes(size)];
    const first = await bringHalf(scene, id, late);
    expect(await bring(other, id, kept, size)).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    first.rest();
    expect(await first.answer).toMatchObject({ status: 409, body: { code: 'Conflict' } });
    expect(await objectSha256(scene.bucket, 'k')).toBe(sha256(kept));
    expect(putsOf(scene).filter(({ status }) => status === 200)).toHaveLength(1);
  });

  test('with the same bytes is complete for both', async () => {
    const { scene, other, id } = await twoApis();
    const bytes = randomBytes(2 * KiB);
    const first = await bringHalf(scene, id, bytes);
    const second = await bring(other, id, bytes, bytes.length);
    expect(second).toMatchObject({ status: 200 });
    first.rest();
    const { etag, state } = second.body;
    expect(await first.answer).toMatchObject({ status: 200, body: { etag, state } });
    expect(putsOf(scene)).toHaveLength(1);
  });

  test('is not acknowledged while the other is still on its way into S3', async () => {
    const { scene, other, id } = await twoApis();
    const [slow, quick] = [randomBytes(2 * KiB), randomBytes(2 * KiB)];
    rig.proxy.fault({ op: 'PutObject', bucket: scene.bucket.name, times: 1 }, faults.delay(4000));
    const first = bring(scene.api, id, slow, slow.length);
    await eventually(() => putsOf(scene).length === 1, { timeout: 30_000, what: 'the slow one at S3' });
    const second = bring(other, id, quick, quick.length);
    // The quick one was there first, so it is the slow one's bytes that stay.
    expect(await first).toMatchObject({ status: 200, body: { state: 'COMPLETED' } });
    expect(await second).toMatchObject({ status: 409, body: { code: 'Conflict' } });
    expect(await objectSha256(scene.bucket, 'k')).toBe(sha256(slow));
    expect(await getSession(db, id)).toMatchObject({ state: 'COMPLETED', verification: 'full' });
  });
});
