/** The REST API on real servers: the service itself, who may call, and single objects. */
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { addApiKey, revokeApiKey } from '../../src/infra/catalog/api-keys.js';
import { createLogger } from '../../src/infra/telemetry/log.js';
import { apiOfTest, startTestApi, type Answer } from '../helpers/api.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import { objectSha256 } from '../helpers/rig.js';
import { startTcpProxy } from '../helpers/tcp-proxy.js';
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

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

function expectProblem(answer: Answer, status: number, code: string): void {
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect({ status: answer.status, ...answer.body }).toMatchObject({
    status,
    code,
    type: `urn:longshore:problem:${code}`,
  });
  for (const field of ['title', 'detail', 'hint', 'instance']) expect(answer.body[field]).toMatch(/./);
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { responses: Record<string, { content?: object }> }>>;
  security?: unknown;
}

describe('the service', () => {
  test('says that it lives, and that it is ready', async () => {
    expect(await api.get('/health')).toMatchObject({ status: 200, body: { status: 'ok' } });
    const up = { ok: true, code: null };
    expect(await api.get('/ready')).toMatchObject({
      status: 200,
      body: { status: 'ready', checks: { temporal: up, postgres: up, s3: up } },
    });
  });

  test('describes itself in OpenAPI 3.1, each answer with a schema', async () => {
    const body = (await api.get('/openapi.json')).body as unknown as Document;
    expect(body.openapi).toMatch(/^3\.1\./);
    const routes = Object.entries(body.paths);
    expect(routes.map(([path]) => path)).toEqual(
      expect.arrayContaining([
        '/health',
        '/ready',
        '/api/v1/uploads/',
        '/api/v1/uploads/{upload_id}',
        '/api/v1/uploads/{upload_id}/files',
        '/api/v1/uploads/{upload_id}/events',
        '/api/v1/objects/',
      ]),
    );
    const answers = routes.flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, { responses }]) =>
        Object.entries(responses).map(([status, { content }]) => ({
          at: `${method} ${path} ${status}`,
          content,
        })),
      ),
    );
    expect(answers.filter(({ content }) => content === undefined)).toEqual([]);
    expect(answers.map(({ at }) => at)).toContain('post /api/v1/uploads/ 409');
    expect(body.security).toBeUndefined();
  });

  test('shows a page of it that loads nothing from elsewhere', async () => {
    const page = await api.get('/docs');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toMatch(/text\/html/);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/https?:|unsafe-inline|unsafe-eval/);
    expect([...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url)).not.toContainEqual(
      expect.stringMatching(/^(https?:)?\/\//),
    );
  });

  test('answers what is not there, not allowed, not JSON or too large with problems', async () => {
    expectProblem(await api.get('/nowhere'), 404, 'NotFound');
    const wrong = await api.send('DELETE', '/api/v1/objects/');
    expectProblem(wrong, 405, 'MethodNotAllowed');
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, POST');
    const plain = { 'content-type': 'text/plain' };
    expectProblem(await api.send('POST', '/api/v1/objects/', 'hello', plain), 415, 'UnsupportedMediaType');
    expectProblem(await api.send('POST', '/api/v1/objects/', '{"a":'), 400, 'InvalidInput');
    const large = JSON.stringify({ object_id: 'a'.repeat(2 ** 20) });
    expectProblem(await api.send('POST', '/api/v1/objects/', large), 413, 'RequestTooLarge');
    expectProblem(await api.get('/api/v1/objects/%E0%A4%A'), 400, 'InvalidInput');
    expectProblem(await api.get('/api/v1/objects/?limit=0'), 400, 'InvalidInput');
    expectProblem(await api.get('/api/v1/objects/?limit=1001'), 400, 'InvalidInput');
    expectProblem(await api.get('/api/v1/objects/?cursor=YQ'), 404, 'NotFound');
    expectProblem(await api.get('/api/v1/objects/?cursor=%20'), 400, 'InvalidInput');
    expectProblem(await api.get('/api/v1/objects/?unknown=1'), 400, 'InvalidInput');
    expectProblem(await api.get('/api/v1/objects/none'), 404, 'NotFound');
  });

  test('says which field is wrong', async () => {
    const answer = await api.send('POST', '/api/v1/objects/', {
      source: { kind: 'file', root: 'files', path: 'f' },
      destination: { bucket: 'UPPER', key: 'k' },
    });
    expectProblem(answer, 400, 'InvalidInput');
    expect(answer.body['errors']).toMatchObject([{ field: 'body/destination/bucket' }]);
  });

  test('slows down who asks too often', async () => {
    const slow = await apiOfTest(rig.surroundings, { env: { LONGSHORE_API_RATE: '3' } });
    for (let count = 0; count < 3; count++) expect((await slow.get('/health')).status).toBe(200);
    const refused = await slow.get('/health');
    expectProblem(refused, 429, 'TooManyRequests');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

describe('who may call', () => {
  test('a page of another origin may not, nor one whose name leads here', async () => {
    expectProblem(await api.get('/health', { origin: 'https://evil.example' }), 403, 'OriginRefused');
    expect((await api.get('/health', { origin: api.url })).status).toBe(200);
    expect(await statusWithHost(api.url, 'evil.example')).toBe(403);
    expect(await statusWithHost(api.url, 'localhost:1')).toBe(200);
    const open = await apiOfTest(rig.surroundings, {
      env: { LONGSHORE_API_ORIGINS: 'https://ours.example' },
    });
    const allowed = await open.get('/health', { origin: 'https://ours.example' });
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://ours.example');
  });

  test('off loopback it does not start without a key', async () => {
    await db.query('DELETE FROM api_keys');
    const env = { LONGSHORE_API_HOST: '0.0.0.0' };
    await expect(startTestApi(rig.surroundings, { env })).rejects.toMatchObject({ code: 'InvalidConfig' });
  });

  test('where keys are required only their holders are answered, and each sees its own', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(100);
    const team = await addApiKey(db, { name: 'team', grants: [{ bucket: bucket.name, prefix: 'team/' }] });
    const other = await addApiKey(db, { name: 'other', grants: [{ bucket: bucket.name, prefix: 'other/' }] });
    const closed = await apiOfTest(rig.surroundings, { env: { LONGSHORE_API_KEYS_REQUIRED: 'true' } });
    const refused = await closed.get('/api/v1/objects/');
    expectProblem(refused, 401, 'Unauthenticated');
    expect(refused.headers.get('www-authenticate')).toMatch(/^Bearer/);
    expectProblem(
      await closed.get('/api/v1/objects/', bearer(`${team.token.slice(0, -1)}_`)),
      401,
      'Unauthenticated',
    );
    expect((await closed.get('/health')).status).toBe(200);

    const ask = (key: string) => ({
      source: { kind: 'file', root: 'files', path: file.name },
      destination: { bucket: bucket.name, key },
    });
    const id = randomUUID();
    const post = (key: string, by: { token: string }, object_id?: string) =>
      closed.send('POST', '/api/v1/objects/', { ...ask(key), object_id }, bearer(by.token));
    expectProblem(await post('other/a', team), 403, 'NotGranted');
    expect((await post('team/a', team, id)).status).toBe(200);
    await eventually(
      async () => (await closed.get(`/api/v1/objects/${id}`, bearer(team.token))).status === 200,
    );
    expectProblem(await closed.get(`/api/v1/objects/${id}`, bearer(other.token)), 404, 'NotFound');
    expectProblem(
      await closed.send('POST', `/api/v1/objects/${id}/cancel`, undefined, bearer(other.token)),
      404,
      'NotFound',
    );
    const seen = async (by: { token: string }): Promise<string[]> => {
      const { body } = await closed.get('/api/v1/objects/', bearer(by.token));
      return (body['objects'] as { object_id: string }[]).map(({ object_id }) => object_id);
    };
    await eventually(async () => (await seen(team)).length > 0);
    expect(await seen(team)).toEqual([id]);
    expect(await seen(other)).toEqual([]);
    await revokeApiKey(db, team.id);
    expectProblem(await closed.get('/api/v1/objects/', bearer(team.token)), 401, 'Unauthenticated');
  });
});

async function statusWithHost(url: string, host: string): Promise<number> {
  return await new Promise((resolve, reject) => {
    request(`${url}/health`, { headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .once('error', reject)
      .end();
  });
}

describe('single objects', () => {
  test('go in, are looked at, and are the same when asked for again', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(70_000);
    const id = randomUUID();
    const ask = {
      object_id: id,
      source: { kind: 'file', root: 'files', path: file.name },
      destination: { bucket: bucket.name, key: 'a/b' },
      metadata: { origin: 'test' },
    };
    const created = { object_id: id, status: 'created' };
    const first = await api.send('POST', '/api/v1/objects/', ask);
    expect(first).toMatchObject({ status: 200, body: created });
    expect(first.headers.get('location')).toBe(`/api/v1/objects/${id}`);
    const done = await eventually(async () => {
      const { status, body } = await api.get(`/api/v1/objects/${id}`);
      return status === 200 && body['state'] === 'COMPLETED' ? body : false;
    });
    expect(done).toMatchObject({ progress: 1, bytes_total: 70_000, bucket: bucket.name, key: 'a/b' });
    expect(await objectSha256(bucket, 'a/b')).toBe(file.sha256);
    expect(await api.send('POST', '/api/v1/objects/', ask)).toMatchObject({ status: 200, body: created });
    const changed = { ...ask, destination: { bucket: bucket.name, key: 'a/c' } };
    expectProblem(await api.send('POST', '/api/v1/objects/', changed), 409, 'Conflict');
    expectProblem(await api.send('POST', `/api/v1/objects/${id}/pause`), 409, 'NotRunning');
    const listed = await api.get(`/api/v1/objects/?bucket=${bucket.name}&state=COMPLETED`);
    expect(listed.body).toMatchObject({ objects: [{ object_id: id }], next_cursor: null });
  });

  test('a repeated Idempotency-Key is one upload, with another body a conflict', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(10);
    const ask = (key: string) => ({
      source: { kind: 'file', root: 'files', path: file.name },
      destination: { bucket: bucket.name, key },
    });
    const headers = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => api.send('POST', '/api/v1/objects/', ask('k'), headers)),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]?.status).toBe(200);
    const again = await api.send('POST', '/api/v1/objects/', ask('k'), headers);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.body).toEqual(answers[0]?.body);
    expectProblem(await api.send('POST', '/api/v1/objects/', ask('l'), headers), 409, 'Conflict');
  });
});

describe('without its servers', () => {
  test('Temporal down is 503 with Retry-After, and it comes back', async () => {
    const [host = '', port] = rig.temporal.address.split(':');
    const proxy = await startTcpProxy(host, Number(port));
    onTestFinished(() => proxy.down());
    const surroundings = { ...rig.surroundings, temporal: { ...rig.temporal, address: proxy.address } };
    const cut = await apiOfTest(surroundings);
    expect((await cut.get('/ready')).status).toBe(200);
    await proxy.down();
    const ask = {
      source: { kind: 'file', root: 'files', path: 'f' },
      destination: { bucket: 'some-bucket', key: 'k' },
    };
    const refused = await cut.send('POST', '/api/v1/objects/', ask);
    expectProblem(refused, 503, 'TemporalUnavailable');
    expect(refused.headers.get('retry-after')).toBe('5');
    expect(await cut.get('/ready')).toMatchObject({
      status: 503,
      body: { status: 'not ready', checks: { temporal: { ok: false }, postgres: { ok: true } } },
    });
    expect((await cut.get('/health')).status).toBe(200);
    await proxy.up();
    await eventually(async () => (await cut.get('/ready')).status === 200, { timeout: 20_000 });
  });

  test('PostgreSQL down is 503, and logs hold no password', async () => {
    let logged = '';
    const log = createLogger({
      level: 'debug',
      name: 'api',
      destination: { write: (line) => void (logged += line) },
    });
    const postgres = { url: 'postgres://someone:hunter2secret@127.0.0.1:9/none' };
    const cut = await apiOfTest({ ...rig.surroundings, postgres }, { log });
    const refused = await cut.get('/api/v1/objects/', {});
    expectProblem(refused, 503, 'CatalogUnavailable');
    expect(refused.text).not.toContain('127.0.0.1');
    expectProblem(
      await cut.get('/api/v1/objects/', bearer(`lsk_${'a'.repeat(12)}_${'b'.repeat(43)}`)),
      503,
      'CatalogUnavailable',
    );
    expect(logged).toContain('CatalogUnavailable');
    expect(logged).not.toMatch(/hunter2|b{43}/);
  });
});
