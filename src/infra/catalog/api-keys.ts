/** API keys: who may call from another machine, and what each may touch. Only a key's SHA-256 is kept. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import { describeTarget, isGranted, type Grant, type GrantTarget } from '../../core/grants.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export interface ApiKey {
  /** What jobs and logs name it by; no secret. */
  id: string;
  name: string;
  grants: Grant[];
}

export interface ApiKeyRow extends ApiKey {
  createdAt: string;
  revokedAt: string | null;
}

const ID_BYTES = 6;
const SECRET_BYTES = 32;
/** `lsk_<id>_<secret>`: the id finds the row, so that no key is compared with every other. */
const TOKEN = /^lsk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;
const ABSENT = Buffer.alloc(32);

/** The key itself is in the answer, and nowhere else from then on. */
export async function addApiKey(
  db: Queryable,
  { name, grants }: { name: string; grants: readonly Grant[] },
): Promise<{ id: string; token: string }> {
  const id = randomBytes(ID_BYTES).toString('hex');
  const token = `lsk_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  await query(db, 'addApiKey', {
    text: 'INSERT INTO api_keys (id, name, hash, grants) VALUES ($1, $2, $3, $4)',
    values: [id, name, hashOf(token), JSON.stringify(grants)],
  });
  return { id, token };
}

/** Newest first, revoked ones too. */
export async function listApiKeys(db: Queryable): Promise<ApiKeyRow[]> {
  const { rows } = await query<RawKey>(db, 'listApiKeys', {
    text: 'SELECT * FROM api_keys ORDER BY created_at DESC, id',
  });
  return rows.map(toRow);
}

/** False when no key that counts has this id. */
export async function revokeApiKey(db: Queryable, id: string): Promise<boolean> {
  const { rowCount } = await query(db, 'revokeApiKey', {
    text: 'UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL',
    values: [id],
  });
  return rowCount === 1;
}

/** Keys that count. */
export async function countApiKeys(db: Queryable): Promise<number> {
  const { rows } = await query<{ keys: number }>(db, 'countApiKeys', {
    text: 'SELECT count(*)::integer AS keys FROM api_keys WHERE revoked_at IS NULL',
  });
  return rows[0]?.keys ?? 0;
}

/** Throws Unauthenticated for anything but a key that counts; each refusal says the same. */
export async function authenticate(db: Queryable, token: string): Promise<ApiKey> {
  const id = TOKEN.exec(token)?.[1];
  const found = id === undefined ? undefined : await findKey(db, id, 'authenticate');
  // Also compared when there is no row, so that the time taken does not tell which ids exist.
  const same = timingSafeEqual(hashOf(token), found?.hash ?? ABSENT);
  if (found === undefined || !same || found.revoked_at !== null) {
    throw new LongshoreError('Unauthenticated', 'the API key is not one of ours, or was revoked', {
      op: 'authenticate',
    });
  }
  return { id: found.id, name: found.name, grants: found.grants };
}

/** Whether it was not revoked; whoever is answered for long is asked about again. */
export async function isValidKey(db: Queryable, id: string): Promise<boolean> {
  const found = await findKey(db, id, 'isValidKey');
  return found !== undefined && found.revoked_at === null;
}

/**
 * What a worker asks before it writes for a key: it may have been revoked or may never have had the right.
 * Throws NotGranted, or CatalogUnavailable.
 */
export async function assertGranted(db: Queryable, apiKey: string, target: GrantTarget): Promise<void> {
  const found = await findKey(db, apiKey, 'assertGranted');
  if (found !== undefined && found.revoked_at === null && isGranted(found.grants, target)) return;
  const why =
    found === undefined
      ? 'is not there any more'
      : found.revoked_at !== null
        ? 'was revoked'
        : 'has no grant for it';
  throw new LongshoreError('NotGranted', `the API key ${apiKey} ${why}: ${describeTarget(target)}`, {
    op: 'assertGranted',
    key: describeTarget(target),
  });
}

interface RawKey {
  id: string;
  name: string;
  hash: Buffer;
  grants: Grant[];
  created_at: Date;
  revoked_at: Date | null;
}

async function findKey(db: Queryable, id: string, op: string): Promise<RawKey | undefined> {
  const { rows } = await query<RawKey>(db, op, {
    name: 'find-api-key',
    text: 'SELECT * FROM api_keys WHERE id = $1',
    values: [id],
  });
  return rows[0];
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

function toRow({ id, name, grants, created_at, revoked_at }: RawKey): ApiKeyRow {
  return {
    ...{ id, name, grants },
    createdAt: created_at.toISOString(),
    revokedAt: revoked_at === null ? null : revoked_at.toISOString(),
  };
}
