/** What keys, proxies and readers that go may do to the API, on real servers. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { addApiKey, revokeApiKey } from '../../src/infra/catalog/api-keys.js';
import { apiOfTest, type Json } from '../helpers/api.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import { keysIn } from '../helpers/rig.js';
import { eventually } from '../helpers/wait.js';

let bench: ApiBench;
let rig: ApiBench['rig'];
let api: ApiBench['api'];
let db: ApiBench['db'];

beforeAll(async () => {
  bench = await startApiBench();
  ({ rig, api, db } = bench);
});
afterAll(() => bench.close());

const uploads = '/api/v1/uploads/';
const bearer = ({ token }: { token: string }) => ({ authorization: `Bearer ${token}` });

async function stateIs(id: string, state: string): Promise<Json> {
  return await eventually(
    async () => {
      const { body } = await api.get(uploads + id);
      return body['state'] === state ? body : false;
    },
    { timeout: 60_000, what: `${state} of ${id}` },
  );
}

/** A job that does not end by itself. */
async function endless(bucket: string): Promise<string> {
  const id = randomUUID();
  const created = await api.send('POST', uploads, {
    upload_id: id,
    source_folder: await bench.folderOf({ f: 'x'.repeat(100_000) }),
    destination_bucket: bucket,
    monitor: false,
    limits: { bandwidth: 1 },
  });
  expect(created.status).toBe(200);
  onTestFinished(async () => {
    await api.send('POST', `${uploads}${id}/cancel`);
    await stateIs(id, 'CANCELLED');
  });
  return id;
}

describe('roots', () => {
  test('a file is read below a root of the API alone, whatever roots workers have', async () => {
    const ask = {
      source: { kind: 'file', root: 'host', path: 'etc/hostname' },
      destination: { bucket: 'some-bucket', key: 'k' },
    };
    const outside = { status: 403, body: { code: 'SourceOutsideRoot' } };
    expect(await api.send('POST', '/api/v1/objects/', ask)).toMatchObject(outside);
    const inherited = { ...ask, source: { ...ask.source, root: 'constructor' } };
    expect(await api.send('POST', '/api/v1/objects/', inherited)).toMatchObject(outside);
  });
});

describe('pages of other sites', () => {
  const from = (site: string) => ({ 'sec-fetch-site': site });

  test('begin nothing by what needs no Origin, such as an image', async () => {
    const bucket = await rig.bucket();
    const env = { LONGSHORE_SESSION_BUCKET: bucket.name };
    const loopback = await apiOfTest(rig.surroundings, { env });
    const refused = { status: 403, body: { code: 'OriginRefused' } };
    for (const site of ['cross-site', 'same-site']) {
      expect(await loopback.get('/s3/params?filename=x', from(site))).toMatchObject(refused);
      expect(await loopback.get(uploads, from(site))).toMatchObject(refused);
    }
    const { rowCount } = await db.query('SELECT FROM sessions WHERE bucket = $1', [bucket.name]);
    expect(rowCount).toBe(0);
    // A bookmark, our own page, and what is no browser.
    for (const headers of [from('none'), from('same-origin'), {}])
      expect((await loopback.get(uploads, headers)).status).toBe(200);
    // Others may link to what is to be read.
    expect((await loopback.get('/openapi.json', from('cross-site'))).status).toBe(200);
    expect((await loopback.get('/docs', from('cross-site'))).status).toBe(200);
    expect(await loopback.get('/docsx', from('cross-site'))).toMatchObject(refused);
  });

  test('whose origin is allowed go on', async () => {
    const origin = 'https://ours.example';
    const open = await apiOfTest(rig.surroundings, { env: { LONGSHORE_API_ORIGINS: origin } });
    expect((await open.get(uploads, { ...from('cross-site'), origin })).status).toBe(200);
    expect((await open.get(uploads, from('cross-site'))).status).toBe(403);
  });
});

describe('keys', () => {
  test('behind a proxy they are required', async () => {
    await addApiKey(db, { name: 'any', grants: [{ bucket: '*', prefix: '' }] });
    const env = { LONGSHORE_API_TRUSTED_PROXIES: '127.0.0.1' };
    const proxied = await apiOfTest(rig.surroundings, { env });
    expect((await proxied.get(uploads)).status).toBe(401);
  });

  test('are renewed without an end to the jobs they started', async () => {
    const bucket = await rig.bucket();
    const folder = await bench.folderOf({ a: 'a' });
    const grants = [{ bucket: bucket.name, prefix: 'mine/' }];
    const old = await addApiKey(db, { name: 'old', grants });
    const id = randomUUID();
    const ask = {
      upload_id: id,
      source_folder: folder,
      destination_bucket: bucket.name,
      destination_prefix: 'mine/',
      monitor: false,
    };
    expect((await api.send('POST', uploads, ask, bearer(old))).status).toBe(200);
    await stateIs(id, 'COMPLETED');
    await revokeApiKey(db, old.id);
    const fresh = await addApiKey(db, { name: 'fresh', grants });
    await writeFile(join(folder, 'b'), 'b');
    expect((await api.send('POST', `${uploads}${id}/sync`, undefined, bearer(fresh))).status).toBe(200);
    await eventually(async () => (await api.get(uploads + id)).body['generation'] === 2);
    const done = await eventually(
      async () => {
        const { body } = await api.get(uploads + id);
        return ['COMPLETED', 'FAILED'].includes(String(body['state'])) ? body : false;
      },
      { timeout: 60_000 },
    );
    expect(done).toMatchObject({ state: 'COMPLETED', failure: null });
    expect((await keysIn(bucket)).sort()).toEqual(['mine/a', 'mine/b']);

    const third = await addApiKey(db, { name: 'third', grants });
    expect((await api.send('POST', uploads, { ...ask, pattern: '*' }, bearer(third))).status).toBe(409);
    expect(await keyOfJob(id)).toBe(fresh.id);
    expect((await api.send('POST', uploads, ask, bearer(third))).status).toBe(200);
    expect(await keyOfJob(id)).toBe(third.id);
  });

  async function keyOfJob(id: string): Promise<string | null> {
    const { rows } = await db.query<{ api_key: string | null }>(
      `SELECT api_key FROM upload_jobs WHERE id = $1 AND api_key = definition ->> 'apiKey'`,
      [id],
    );
    return rows[0]?.api_key ?? null;
  }
});

describe('streams of events', () => {
  test('whose readers go at once, or ask by HEAD, leave their places', async () => {
    const few = await apiOfTest(rig.surroundings, { env: { LONGSHORE_API_STREAMS: '1' } });
    const bucket = await rig.bucket();
    const id = await endless(bucket.name);
    expect((await fetch(`${few.url}${uploads}${id}/events`, { method: 'HEAD' })).status).toBe(405);
    const { hostname, port } = new URL(few.url);
    for (let count = 0; count < 20; count++) {
      const socket = connect(Number(port), hostname);
      await once(socket, 'connect');
      socket.write(`GET ${uploads}${id}/events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
      // Between the request and its answer, at another time each.
      await new Promise((resolve) => setTimeout(resolve, count % 5));
      socket.destroy();
    }
    await eventually(async () => {
      const reader = new AbortController();
      const { status } = await fetch(`${few.url}${uploads}${id}/events`, { signal: reader.signal });
      reader.abort();
      return status === 200;
    });
    // The places are counted before the job is looked up.
    const reader = new AbortController();
    const ask = async (): Promise<number> =>
      (await fetch(`${few.url}${uploads}${id}/events`, { signal: reader.signal })).status;
    await eventually(async () => (await few.get(`${uploads}none/events`)).status === 404);
    const statuses = await Promise.all([ask(), ask(), ask()]);
    expect(statuses.sort()).toEqual([200, 429, 429]);
    const refused = await few.get(`${uploads}${id}/events`);
    expect(refused).toMatchObject({ status: 429, body: { code: 'TooManyRequests' } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    reader.abort();
  });

  test('end when their key is revoked', async () => {
    const bucket = await rig.bucket();
    const key = await addApiKey(db, { name: 'k', grants: [{ bucket: bucket.name, prefix: '' }] });
    const id = await endless(bucket.name);
    const answer = await fetch(`${api.url}${uploads}${id}/events`, { headers: bearer(key) });
    await revokeApiKey(db, key.id);
    const text = await answer.text();
    expect(text).toMatch(/event: error\ndata: .*"code":"Unauthenticated"/);
  });
});

describe('what is asked for again', () => {
  test('says again where it is', async () => {
    const bucket = await rig.bucket();
    const ask = {
      source_folder: await bench.folderOf({ f: 'f' }),
      destination_bucket: bucket.name,
      monitor: false,
    };
    const headers = { 'idempotency-key': randomUUID() };
    const first = await api.send('POST', uploads, ask, headers);
    const location = first.headers.get('location');
    expect(location).toBe(uploads + String(first.body['upload_id']));
    const again = await api.send('POST', uploads, ask, headers);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.headers.get('location')).toBe(location);
    await stateIs(String(first.body['upload_id']), 'COMPLETED');
  });

  test('is the same job by other defaults of the times', async () => {
    const bucket = await rig.bucket();
    const other = await apiOfTest(rig.surroundings, { env: { FILE_MONITOR_INTERVAL: '77' } });
    const id = randomUUID();
    const ask = {
      upload_id: id,
      source_folder: await bench.folderOf({ f: 'f' }),
      destination_bucket: bucket.name,
    };
    expect((await api.send('POST', uploads, ask)).status).toBe(200);
    expect((await other.send('POST', uploads, ask)).status).toBe(200);
    await stateIs(id, 'COMPLETED');
    expect((await api.send('DELETE', uploads + id)).status).toBe(200);
  });
});

test('files are paged over names that are no text, however long', async () => {
  const bucket = await rig.bucket();
  const odd = `\uFFFD${'x'.repeat(20)}`;
  const folder = await bench.folderOf({ [odd]: 'a', '\u{10000}': 'b' });
  const id = randomUUID();
  await api.send('POST', uploads, {
    upload_id: id,
    source_folder: folder,
    destination_bucket: bucket.name,
    monitor: false,
  });
  await stateIs(id, 'COMPLETED');
  const first = await api.get(`${uploads}${id}/files?limit=1`);
  expect(first.body['files']).toMatchObject([{ path: odd }]);
  const second = await api.get(`${uploads}${id}/files?limit=1&cursor=${String(first.body['next_cursor'])}`);
  expect(second.body['files']).toMatchObject([{ path: '\u{10000}' }]);
  const longest = Buffer.from('\\xff'.repeat(4096)).toString('base64url');
  expect((await api.get(`${uploads}${id}/files?cursor=${longest}`)).status).toBe(200);
  expect((await api.get(`${uploads}${id}/files?cursor=_-8`)).status).toBe(404);
});
