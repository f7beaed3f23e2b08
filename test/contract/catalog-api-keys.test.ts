import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseGrant } from '../../src/core/grants.js';
import {
  addApiKey,
  assertGranted,
  authenticate,
  countApiKeys,
  listApiKeys,
  revokeApiKey,
} from '../../src/infra/catalog/api-keys.js';
import { findAnswer, keepAnswer, purgeAnswers } from '../../src/infra/catalog/idempotency.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

let schema: TestSchema;
beforeAll(async () => {
  schema = await testSchema();
  await migrate(schema.pool);
});
afterAll(() => schema.drop());

const add = (...grants: string[]) =>
  addApiKey(schema.pool, { name: 'a key', grants: grants.map(parseGrant) });

describe('an API key', () => {
  test('is known again, with its grants, and is kept as a hash alone', async () => {
    const { id, token } = await add('bucket/a/');
    expect(token).toMatch(/^lsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/);
    const grants = [{ bucket: 'bucket', prefix: 'a/' }];
    expect(await authenticate(schema.pool, token)).toEqual({ id, name: 'a key', grants });
    const { rows } = await schema.pool.query<{ row: string }>(
      'SELECT api_keys::text AS row FROM api_keys WHERE id = $1',
      [id],
    );
    const secret = token.slice(token.lastIndexOf(id) + id.length + 1);
    for (const kept of [secret, Buffer.from(secret).toString('hex'), Buffer.from(token).toString('hex')])
      expect(rows[0]?.row).not.toContain(kept);
  });

  test('is refused when it is altered, unknown, revoked or none', async () => {
    const { id, token } = await add('*');
    const last = token.endsWith('A') ? 'B' : 'A';
    const wrong = [token.slice(0, -1) + last, token.replace(id, '0'.repeat(12)), `${token}A`, '', 'lsk_', id];
    const refused = { code: 'Unauthenticated' };
    for (const each of wrong) await expect(authenticate(schema.pool, each)).rejects.toMatchObject(refused);
    const before = await countApiKeys(schema.pool);
    expect(await revokeApiKey(schema.pool, id)).toBe(true);
    expect(await revokeApiKey(schema.pool, id)).toBe(false);
    expect(await countApiKeys(schema.pool)).toBe(before - 1);
    await expect(authenticate(schema.pool, token)).rejects.toMatchObject(refused);
    expect((await listApiKeys(schema.pool)).find((key) => key.id === id)?.revokedAt).toMatch(/Z$/);
  });

  test('is asked for by workers with what they are about to write', async () => {
    const { id } = await add('bucket/a/');
    const inside = { bucket: 'bucket', key: 'a/k' };
    await expect(assertGranted(schema.pool, id, inside)).resolves.toBeUndefined();
    await expect(
      assertGranted(schema.pool, id, { bucket: 'bucket', prefix: 'a/b/' }),
    ).resolves.toBeUndefined();
    const refused = { code: 'NotGranted', retry: 'never' };
    for (const target of [
      { bucket: 'bucket', key: 'b' },
      { bucket: 'other', key: 'a/k' },
      { bucket: 'bucket', prefix: '' },
    ])
      await expect(assertGranted(schema.pool, id, target)).rejects.toMatchObject(refused);
    await expect(assertGranted(schema.pool, 'none', inside)).rejects.toMatchObject(refused);
    await revokeApiKey(schema.pool, id);
    await expect(assertGranted(schema.pool, id, inside)).rejects.toMatchObject(refused);
  });
});

describe('a kept answer', () => {
  const answer = { fingerprint: 'f', status: 200, body: { some: ['thing'] }, location: '/there' };

  test('is that of the first, per key and caller', async () => {
    const ref = { apiKey: '', key: 'k1' };
    expect(await findAnswer(schema.pool, ref)).toBeUndefined();
    await keepAnswer(schema.pool, ref, answer);
    await keepAnswer(schema.pool, ref, { ...answer, status: 201 });
    expect(await findAnswer(schema.pool, ref)).toEqual(answer);
    expect(await findAnswer(schema.pool, { apiKey: 'other', key: 'k1' })).toBeUndefined();
  });

  test('goes after a day', async () => {
    const ref = { apiKey: '', key: 'k2' };
    await keepAnswer(schema.pool, ref, answer);
    await schema.pool.query(
      `UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = 'k2'`,
    );
    expect(await findAnswer(schema.pool, ref)).toBeUndefined();
    await keepAnswer(schema.pool, ref, { ...answer, status: 202 });
    expect(await findAnswer(schema.pool, ref)).toMatchObject({ status: 202 });
    await schema.pool.query(
      `UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = 'k2'`,
    );
    expect(await purgeAnswers(schema.pool)).toBe(1);
    expect(await purgeAnswers(schema.pool)).toBe(0);
  });
});
