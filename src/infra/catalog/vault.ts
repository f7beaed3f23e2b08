/** Secrets that a workflow needs but its history must not hold: sealed here, named there by a reference. */
import { createHmac, randomUUID } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import { decrypt, deriving, encrypt } from '../keys/aes-gcm.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export interface Vault {
  /** Keeps `value` for `ttlMs` and answers its reference. Each call makes another. Throws InvalidConfig without a key. */
  seal(value: string, options: { purpose: string; ttlMs: number }): Promise<string>;
  /** The value again. Throws SecretUnavailable when it expired, was discarded, or has another key or purpose. */
  unseal(ref: string, purpose: string): Promise<string>;
  /** Success also when it is gone already. */
  discard(ref: string): Promise<void>;
  /** Removes what expired; answers how many. */
  purgeExpired(): Promise<number>;
  /** HMAC-SHA-256 under the key, hex: the same value gives the same fingerprint, and nobody else can make it. */
  fingerprintSecret(value: string): string;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

interface Keys {
  id: string;
  seal: Buffer;
  fingerprint: Buffer;
}

/** `sealingKey`: 32 bytes, base64. Without one, only what needs a key fails, so that a worker can do its other work. */
export function createVault(options: { db: Queryable; sealingKey: string | undefined }): Vault {
  const { db, sealingKey } = options;
  let derived: Keys | undefined;
  const keys = (op: string): Keys => (derived ??= deriveKeys(sealingKey, op));
  return {
    async seal(value, { purpose, ttlMs }) {
      const key = keys('seal');
      const id = randomUUID();
      const { nonce, ciphertext } = encrypt(key.seal, Buffer.from(value, 'utf8'), context(id, purpose));
      await query(db, 'seal', {
        text: `INSERT INTO sealed_values (id, purpose, ciphertext, nonce, key_id, expires_at)
          VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond')`,
        values: [id, purpose, ciphertext, nonce, key.id, ttlMs],
      });
      return id;
    },
    unseal: (ref, purpose) => unseal(db, keys('unseal'), ref, purpose),
    async discard(ref) {
      if (!UUID.test(ref)) return;
      await query(db, 'discard', { text: 'DELETE FROM sealed_values WHERE id = $1', values: [ref] });
    },
    async purgeExpired() {
      const { rowCount } = await query(db, 'purgeExpired', {
        text: 'DELETE FROM sealed_values WHERE expires_at <= now()',
      });
      return rowCount ?? 0;
    },
    fingerprintSecret: (value) =>
      createHmac('sha256', keys('fingerprintSecret').fingerprint).update(value, 'utf8').digest('hex'),
  };
}

interface SealedRow {
  ciphertext: Buffer;
  nonce: Buffer;
  key_id: string;
}

async function unseal(db: Queryable, key: Keys, ref: string, purpose: string): Promise<string> {
  const missing = () => unavailable('the sealed value is absent or expired', ref);
  if (!UUID.test(ref)) throw missing();
  const { rows } = await query<SealedRow>(db, 'unseal', {
    text: 'SELECT ciphertext, nonce, key_id FROM sealed_values WHERE id = $1 AND expires_at > now()',
    values: [ref],
  });
  const row = rows[0];
  if (row === undefined) throw missing();
  if (row.key_id !== key.id)
    throw unavailable('the sealed value was sealed under another LONGSHORE_SEALING_KEY', ref);
  try {
    return decrypt(key.seal, row, context(ref.toLowerCase(), purpose)).toString('utf8');
  } catch (error) {
    throw unavailable(
      'the sealed value does not open: it was altered, or sealed for another purpose',
      ref,
      error,
    );
  }
}

function unavailable(message: string, ref: string, cause?: unknown): LongshoreError {
  return new LongshoreError('SecretUnavailable', message, { op: 'unseal', key: ref, cause });
}

/** Binds a ciphertext to its row and its use: neither can be exchanged for another. */
function context(id: string, purpose: string): Buffer {
  return Buffer.from(JSON.stringify([id, purpose]), 'utf8');
}

function deriveKeys(sealingKey: string | undefined, op: string): Keys {
  const derive = deriving(sealingKey, op);
  return {
    id: derive('key-id', 8).toString('hex'),
    seal: derive('seal'),
    fingerprint: derive('fingerprint'),
  };
}
