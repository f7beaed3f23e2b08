/** The store of customers' keys, with both ways of wrapping: under LONGSHORE_SEALING_KEY, and by the API of AWS KMS. */
import { randomBytes, randomUUID } from 'node:crypto';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { reportUpload } from '../../src/infra/catalog/uploads.js';
import { openKeyStore, type KeyStore } from '../../src/infra/keys/index.js';
import { wipeKeysOf } from '../../src/infra/keys/key-store.js';
import { startMoto, type Moto } from '../helpers/moto.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

const HOUR = 3600 * 1000;
const user = { upload: 'u-1', op: 'UploadPart' };
const unavailable = { code: 'SecretUnavailable' };

let moto: Moto;
let kms: KMSClient;
beforeAll(async () => {
  moto = await startMoto();
  const { endpoint, region, accessKeyId, secretAccessKey } = moto;
  kms = new KMSClient({ endpoint, region, credentials: { accessKeyId, secretAccessKey } });
}, 300_000);
afterAll(async () => {
  kms.destroy();
  await moto.close();
});

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

async function kmsKey(): Promise<string> {
  const { KeyMetadata } = await kms.send(new CreateKeyCommand({}));
  return KeyMetadata?.KeyId ?? '';
}

function kmsConfig(keyId: string, endpoint = moto.endpoint) {
  const { region, accessKeyId, secretAccessKey } = moto;
  return { sealingKey: undefined, kms: { keyId, region, endpoint, accessKeyId, secretAccessKey } };
}

const sealingKey = () => randomBytes(32).toString('base64');
const WAYS: [string, () => Promise<KeyStore>][] = [
  [
    'a sealing key',
    () => Promise.resolve(openKeyStore(db.pool, { sealingKey: sealingKey(), kms: undefined })),
  ],
  ['AWS KMS', async () => openKeyStore(db.pool, kmsConfig(await kmsKey()))],
];

describe.each(WAYS)('under %s', (_way, open) => {
  let keys: KeyStore;
  beforeEach(async () => {
    keys = await open();
  });

  it('gives a key back to its upload, and keeps nothing readable', async () => {
    const key = randomBytes(32);
    const ref = await keys.seal(key, { upload: 'u-1', ttlMs: HOUR });
    expect((await keys.use(ref, user)).key).toEqual(key);
    const { rows } = await db.pool.query<{ wrapped: Buffer }>('SELECT * FROM customer_keys');
    expect(rows).toHaveLength(1);
    expect(rows[0]?.wrapped.includes(key)).toBe(false);
    expect(JSON.stringify(rows)).not.toContain(key.toString('base64'));
  });

  it('opens for no other upload, nor for another reference', async () => {
    const ref = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    const other = await keys.seal(randomBytes(32), { upload: 'u-2', ttlMs: HOUR });
    await expect(keys.use(ref, { ...user, upload: 'u-2' })).rejects.toMatchObject(unavailable);
    await expect(keys.use(randomUUID(), user)).rejects.toMatchObject(unavailable);
    await expect(keys.use('no-uuid', user)).rejects.toMatchObject(unavailable);
    // Who can write to the table cannot hand one upload's key to another either.
    await db.pool.query('UPDATE customer_keys SET upload = $1 WHERE ref = $2', ['u-1', other]);
    await expect(keys.use(other, user)).rejects.toMatchObject(unavailable);
    await db.pool.query(
      'UPDATE customer_keys a SET wrapped = b.wrapped FROM customer_keys b WHERE a.ref = $1 AND b.ref = $2',
      [ref, other],
    );
    await expect(keys.use(ref, user)).rejects.toMatchObject(unavailable);
  });

  it('does not open once altered, or under another wrapping key', async () => {
    const ref = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    const other = openKeyStore(db.pool, { sealingKey: sealingKey(), kms: undefined });
    await expect(other.use(ref, user)).rejects.toMatchObject(unavailable);
    await db.pool.query(
      `UPDATE customer_keys SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))`,
    );
    await expect(keys.use(ref, user)).rejects.toMatchObject(unavailable);
  });

  it('writes down who used which key for what, and how it went', async () => {
    const ref = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    await keys.use(ref, user);
    await keys.use(ref, { upload: 'u-9', op: 'HeadObject' }).catch(() => undefined);
    await keys.wipe(ref);
    await keys.wipe(ref);
    await expect(keys.use(ref, user)).rejects.toMatchObject(unavailable);
    const { rows } = await db.pool.query('SELECT ref, upload, op, outcome FROM key_uses ORDER BY no');
    expect(rows).toEqual([
      { ref, upload: 'u-1', op: 'seal', outcome: 'ok' },
      { ref, upload: 'u-1', op: 'UploadPart', outcome: 'ok' },
      { ref, upload: 'u-9', op: 'HeadObject', outcome: 'SecretUnavailable' },
      { ref, upload: 'u-1', op: 'wipe', outcome: 'ok' },
      { ref, upload: 'u-1', op: 'UploadPart', outcome: 'SecretUnavailable' },
    ]);
  });
});

describe('the life of a key', () => {
  let keys: KeyStore;
  beforeEach(() => {
    keys = openKeyStore(db.pool, { sealingKey: sealingKey(), kms: undefined });
  });
  const left = async (ref: string): Promise<number> => {
    const { rows } = await db.pool.query<{ left: string }>(
      'SELECT extract(epoch FROM expires_at - now()) * 1000 AS left FROM customer_keys WHERE ref = $1',
      [ref],
    );
    return Number(rows[0]?.left ?? NaN);
  };
  const age = (ref: string) =>
    db.pool.query(`UPDATE customer_keys SET expires_at = now() + interval '1 minute' WHERE ref = $1`, [ref]);

  it('ends with its time, whether or not anybody looks', async () => {
    const gone = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: -1 });
    await expect(keys.use(gone, user)).rejects.toMatchObject(unavailable);
    await keys.extend(gone, HOUR);
    await expect(keys.use(gone, user)).rejects.toMatchObject(unavailable);
    const kept = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    const { rows } = await db.pool.query('SELECT ref FROM customer_keys');
    expect(rows).toEqual([{ ref: kept }]);
    await db.pool.query(`UPDATE customer_keys SET expires_at = now()`);
    expect(await keys.purgeExpired()).toBe(1);
    expect(await keys.purgeExpired()).toBe(0);
  });

  it('slides with its use, and with signs of its client; never back', async () => {
    const ref = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    await age(ref);
    await keys.use(ref, user);
    expect(await left(ref)).toBeGreaterThan(0.9 * HOUR);
    await keys.extend(ref, 60_000);
    expect(await left(ref)).toBeGreaterThan(0.9 * HOUR);
    await age(ref);
    await keys.extend(ref, 2 * HOUR);
    expect(await left(ref)).toBeGreaterThan(1.9 * HOUR);
  });

  it('ends with its upload, in the transaction that writes the end down', async () => {
    const mine = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    const theirs = await keys.seal(randomBytes(32), { upload: 'u-2', ttlMs: HOUR });
    const report = {
      ...{ id: 'u-1', workflowId: 'upload/u-1', runId: randomUUID(), runStartedAt: new Date().toISOString() },
      ...{ destination: { bucket: 'b', key: 'k' }, source: { kind: 'file' as const, label: 'f' } },
    };
    await reportUpload(db.pool, 'here', { ...report, sequence: 1, state: 'UPLOADING' });
    await expect(keys.use(mine, user)).resolves.toBeDefined();
    await reportUpload(db.pool, 'here', { ...report, sequence: 2, state: 'FAILED' });
    await expect(keys.use(mine, user)).rejects.toMatchObject(unavailable);
    await expect(keys.use(theirs, { ...user, upload: 'u-2' })).resolves.toBeDefined();
    await wipeKeysOf(db.pool, 'u-2');
    await expect(keys.use(theirs, { ...user, upload: 'u-2' })).rejects.toMatchObject(unavailable);
  });

  it('takes nothing but 32 bytes, and needs a wrapping key', async () => {
    await expect(keys.seal(randomBytes(31), { upload: 'u', ttlMs: HOUR })).rejects.toMatchObject({
      code: 'InvalidInput',
    });
    const none = openKeyStore(db.pool, { sealingKey: undefined, kms: undefined });
    await expect(none.seal(randomBytes(32), { upload: 'u', ttlMs: HOUR })).rejects.toMatchObject({
      code: 'InvalidConfig',
    });
  });
});

describe('AWS KMS', () => {
  it('that is away is worth another try; a key that it does not know is not', async () => {
    const keyId = await kmsKey();
    const keys = openKeyStore(db.pool, kmsConfig(keyId));
    const ref = await keys.seal(randomBytes(32), { upload: 'u-1', ttlMs: HOUR });
    const away = openKeyStore(db.pool, kmsConfig(keyId, 'http://127.0.0.1:1'));
    await expect(away.use(ref, user)).rejects.toMatchObject({
      code: 'KeyServiceUnavailable',
      retry: 'retry',
    });
    const unknown = openKeyStore(db.pool, kmsConfig(randomUUID()));
    await expect(unknown.seal(randomBytes(32), { upload: 'u', ttlMs: HOUR })).rejects.toMatchObject({
      code: 'InvalidConfig',
    });
  });
});
