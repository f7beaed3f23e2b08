/** Answers that are given again, by a server with nothing but the plugin, on a real catalog. */
import fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ApiDeps } from '../../src/api/deps.js';
import { idempotency } from '../../src/api/plugins/idempotency.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

let schema: TestSchema;
let app: FastifyInstance;
let made = 0;

beforeAll(async () => {
  schema = await testSchema();
  await migrate(schema.pool);
  app = fastify();
  app.decorateRequest('apiKey', null);
  idempotency(app, { db: schema.pool, log: app.log } as unknown as ApiDeps);
  app.post('/nodes/:node/rotate', async (_request, reply) => {
    made += 1;
    reply.header('location', `/objects/${made}`);
    return { upload_id: String(made), status: 'created' };
  });
  app.post('/nodes/:node/touch', () => ({ upload_id: 'n', status: 'created' }));
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await schema.drop();
});

const post = (url: string, key: string) =>
  app.inject({ method: 'POST', url, headers: { 'idempotency-key': key } });

test('an answer that is given again names the place that the first one named', async () => {
  const first = await post('/nodes/n/rotate', 'k');
  const again = await post('/nodes/n/rotate', 'k');
  expect(made).toBe(1);
  expect(again.headers).toMatchObject({ 'idempotency-replayed': 'true', location: '/objects/1' });
  expect(again.json()).toEqual(first.json());
});

test('one that named none names none', async () => {
  await post('/nodes/n/touch', 'other');
  const again = await post('/nodes/n/touch', 'other');
  expect(again.headers['idempotency-replayed']).toBe('true');
  expect(again.headers['location']).toBeUndefined();
});
