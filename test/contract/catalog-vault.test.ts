import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { createVault } from '../../src/infra/catalog/vault.js';
import type { Vault } from '../../src/infra/catalog/vault.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

const SECRET = 'https://example.test/f?X-Amz-Signature=abc';
const HOUR = 3600 * 1000;
const key = () => randomBytes(32).toString('base64');

let db: TestSchema;
let vault: Vault;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  vault = createVault({ db: db.pool, sealingKey: key() });
});
afterEach(() => db.drop());

const unavailable = { code: 'SecretUnavailable' };

test('gives back what it sealed, and keeps nothing readable', async () => {
  const ref = await vault.seal(SECRET, { purpose: 'source-url', ttlMs: HOUR });
  expect(await vault.unseal(ref, 'source-url')).toBe(SECRET);
  const { rows } = await db.pool.query<{ ciphertext: Buffer }>('SELECT * FROM sealed_values');
  expect(rows[0]?.ciphertext.includes('Signature')).toBe(false);
});

test('two seals of one value share nothing', async () => {
  const refs = [1, 2].map(() => vault.seal(SECRET, { purpose: 'p', ttlMs: HOUR }));
  expect(new Set(await Promise.all(refs)).size).toBe(2);
  const { rows } = await db.pool.query<{ n: string; c: string }>(
    `SELECT count(DISTINCT nonce) AS n, count(DISTINCT ciphertext) AS c FROM sealed_values`,
  );
  expect(rows).toEqual([{ n: '2', c: '2' }]);
});

test('another key, another purpose, another row and an altered value do not open', async () => {
  const ref = await vault.seal(SECRET, { purpose: 'p', ttlMs: HOUR });
  const other = await vault.seal('other', { purpose: 'p', ttlMs: HOUR });
  await expect(createVault({ db: db.pool, sealingKey: key() }).unseal(ref, 'p')).rejects.toMatchObject(
    unavailable,
  );
  await expect(vault.unseal(ref, 'q')).rejects.toMatchObject(unavailable);
  await db.pool.query(
    'UPDATE sealed_values a SET ciphertext = b.ciphertext, nonce = b.nonce FROM sealed_values b WHERE a.id = $1 AND b.id = $2',
    [ref, other],
  );
  await expect(vault.unseal(ref, 'p')).rejects.toMatchObject(unavailable);
  await db.pool.query(`UPDATE sealed_values SET ciphertext = '\\x00'`);
  await expect(vault.unseal(other, 'p')).rejects.toMatchObject(unavailable);
});

test('what expired is unavailable before and after it is purged', async () => {
  const gone = await vault.seal(SECRET, { purpose: 'p', ttlMs: -1 });
  const kept = await vault.seal(SECRET, { purpose: 'p', ttlMs: HOUR });
  await expect(vault.unseal(gone, 'p')).rejects.toMatchObject(unavailable);
  expect(await vault.purgeExpired()).toBe(1);
  expect(await vault.purgeExpired()).toBe(0);
  await expect(vault.unseal(gone, 'p')).rejects.toMatchObject(unavailable);
  expect(await vault.unseal(kept, 'p')).toBe(SECRET);
});

test('discards, also twice and what never was', async () => {
  const ref = await vault.seal(SECRET, { purpose: 'p', ttlMs: HOUR });
  await vault.discard(ref);
  await vault.discard(ref);
  await vault.discard('never');
  await expect(vault.unseal(ref, 'p')).rejects.toMatchObject(unavailable);
  await expect(vault.unseal('never', 'p')).rejects.toMatchObject(unavailable);
});

test('a fingerprint depends on the value and the key alone', () => {
  const sealingKey = key();
  const again = createVault({ db: db.pool, sealingKey });
  const one = createVault({ db: db.pool, sealingKey }).fingerprintSecret(SECRET);
  expect(one).toMatch(/^[0-9a-f]{64}$/);
  expect(again.fingerprintSecret(SECRET)).toBe(one);
  expect(again.fingerprintSecret(`${SECRET}d`)).not.toBe(one);
  expect(vault.fingerprintSecret(SECRET)).not.toBe(one);
});

test.each([undefined, 'c2hvcnQ='])('without a good key (%s) it says which setting', async (sealingKey) => {
  const keyless = createVault({ db: db.pool, sealingKey });
  const wanted = { code: 'InvalidConfig', hint: expect.stringContaining('LONGSHORE_SEALING_KEY') as string };
  await expect(keyless.seal(SECRET, { purpose: 'p', ttlMs: HOUR })).rejects.toMatchObject(wanted);
  expect(() => keyless.fingerprintSecret(SECRET)).toThrow(/key/);
  expect(await keyless.purgeExpired()).toBe(0);
});
