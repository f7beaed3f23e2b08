/**
 * Customers' keys for as long as their uploads need them: wrapped in the catalog, named by a reference, given to the
 * upload they were sealed for and to nobody else, every use written down before the key is handed out.
 */
import { randomUUID } from 'node:crypto';
import { isErrorCode, LongshoreError } from '../../core/errors.js';
import { query, type Queryable } from '../catalog/pool.js';
import { customerKey, type CustomerKey } from './customer-key.js';
import { NotOpened, type KeyWrapping } from './wrapping.js';

export interface KeyUser {
  /** Id of the upload or session that the key was sealed for. */
  upload: string;
  /** What it is needed for, in S3's terms. */
  op: string;
}

export interface KeyStore {
  /**
   * Keeps the key (32 bytes) and answers its reference; each call makes another. It lives for `ttlMs` after its last use.
   * Throws InvalidInput, InvalidConfig without a wrapping key, KeyServiceUnavailable.
   */
  seal(key: Buffer, options: { upload: string; ttlMs: number }): Promise<string>;
  /** Throws SecretUnavailable when it expired, was wiped, or was sealed for another upload or under another key. */
  use(ref: string, user: KeyUser): Promise<CustomerKey>;
  /** Lets it live for `ttlMs` from now, or longer if it would anyway. Harmless when it is gone. */
  extend(ref: string, ttlMs: number): Promise<void>;
  /** Success also when it is gone already. */
  wipe(ref: string): Promise<void>;
  /** Wipes what expired; answers how many. */
  purgeExpired(): Promise<number>;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function createKeyStore({ db, wrapping }: { db: Queryable; wrapping: KeyWrapping }): KeyStore {
  return {
    async seal(key, { upload, ttlMs }) {
      const { md5 } = customerKey(key);
      const ref = randomUUID();
      const { bytes, under } = await wrapping.wrap(key, { ref, upload });
      await query(db, 'sealKey', {
        // What nobody came back for goes with the next that comes, so that no schedule is needed to forget.
        text: `WITH expired AS (${PURGE}), sealed AS (
            INSERT INTO customer_keys (ref, upload, wrapped, wrapped_under, key_md5, ttl_ms, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6::bigint, now() + $6::bigint * interval '1 millisecond'))
          INSERT INTO key_uses (ref, upload, op, outcome)
          SELECT $1, $2, 'seal', 'ok' UNION ALL SELECT ref, upload, 'expire', 'ok' FROM expired`,
        values: [ref, upload, bytes, under, md5, ttlMs],
      });
      return ref;
    },
    async use(ref, user) {
      const row = UUID.test(ref) ? await take(db, ref, user) : undefined;
      try {
        const opened = await open(wrapping, ref, user, row);
        await audit(db, ref, user, 'ok');
        return opened;
      } catch (error) {
        const code = error instanceof LongshoreError ? error.code : undefined;
        if (UUID.test(ref) && code !== 'CatalogUnavailable') await audit(db, ref, user, code ?? 'Internal');
        throw error;
      }
    },
    async extend(ref, ttlMs) {
      if (!UUID.test(ref)) return;
      await query(db, 'extendKey', {
        name: 'extend-key',
        text: `UPDATE customer_keys SET expires_at = greatest(expires_at, now() + $2::bigint * interval '1 millisecond')
          WHERE ref = $1 AND expires_at > now()`,
        values: [ref, ttlMs],
      });
    },
    wipe: (ref) => (UUID.test(ref) ? wipe(db, 'ref = $1', ref) : Promise.resolve()),
    async purgeExpired() {
      const { rowCount } = await query(db, 'purgeKeys', {
        text: `WITH expired AS (${PURGE}) INSERT INTO key_uses (ref, upload, op, outcome)
          SELECT ref, upload, 'expire', 'ok' FROM expired`,
      });
      return rowCount ?? 0;
    },
  };
}

/** Every key of an upload, at its end; part of the transaction that writes the end down. */
export async function wipeKeysOf(db: Queryable, upload: string): Promise<void> {
  await wipe(db, 'upload = $1', upload);
}

const PURGE = 'DELETE FROM customer_keys WHERE expires_at <= now() RETURNING ref, upload';

async function wipe(db: Queryable, which: 'ref = $1' | 'upload = $1', value: string): Promise<void> {
  await query(db, 'wipeKey', {
    name: which === 'ref = $1' ? 'wipe-key' : 'wipe-keys-of',
    text: `WITH gone AS (DELETE FROM customer_keys WHERE ${which} RETURNING ref, upload)
      INSERT INTO key_uses (ref, upload, op, outcome) SELECT ref, upload, 'wipe', 'ok' FROM gone`,
    values: [value],
  });
}

interface Row {
  wrapped: Buffer;
  wrapped_under: string;
}

/** An upload that goes on must not outlive its key. */
async function take(db: Queryable, ref: string, { upload }: KeyUser): Promise<Row | undefined> {
  const { rows } = await query<Row & { [column: string]: unknown }>(db, 'useKey', {
    name: 'use-key',
    text: `UPDATE customer_keys SET expires_at = greatest(expires_at, now() + ttl_ms * interval '1 millisecond')
      WHERE ref = $1 AND upload = $2 AND expires_at > now() RETURNING wrapped, wrapped_under`,
    values: [ref, upload],
  });
  return rows[0];
}

async function open(
  wrapping: KeyWrapping,
  ref: string,
  { upload }: KeyUser,
  row: Row | undefined,
): Promise<CustomerKey> {
  if (row === undefined) throw unavailable(ref, 'it is absent, expired, or was sealed for another upload');
  const { wrapped: bytes, wrapped_under: under } = row;
  try {
    return customerKey(await wrapping.unwrap({ bytes, under }, { ref: ref.toLowerCase(), upload }));
  } catch (error) {
    throw error instanceof NotOpened ? unavailable(ref, error.message, error) : error;
  }
}

function unavailable(ref: string, why: string, cause?: unknown): LongshoreError {
  return new LongshoreError('SecretUnavailable', `the sealed key cannot be had: ${why}`, {
    op: 'useKey',
    key: ref,
    cause,
  });
}

async function audit(db: Queryable, ref: string, { upload, op }: KeyUser, outcome: string): Promise<void> {
  await query(db, 'auditKey', {
    name: 'audit-key',
    text: 'INSERT INTO key_uses (ref, upload, op, outcome) VALUES ($1, $2, $3, $4)',
    values: [ref, upload, op, outcome === 'ok' || isErrorCode(outcome) ? outcome : 'Internal'],
  });
}
