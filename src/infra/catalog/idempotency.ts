/** Answers to requests that carried an `Idempotency-Key`: the same request again gets the same answer. */
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export interface IdempotencyRef {
  /** Whose key it is; '' where nobody has to say who they are. */
  apiKey: string;
  key: string;
}

export interface StoredAnswer {
  /** SHA-256 of method, path and body, hex. */
  fingerprint: string;
  status: number;
  body: unknown;
  /** Its Location header. */
  location: string | null;
}

/** How long an answer is kept; documented in docs/api.md. */
export const ANSWER_LIFETIME_MS = 24 * 3600 * 1000;

export async function findAnswer(
  db: Queryable,
  { apiKey, key }: IdempotencyRef,
): Promise<StoredAnswer | undefined> {
  const { rows } = await query<StoredAnswer>(db, 'findAnswer', {
    name: 'find-answer',
    text: `SELECT fingerprint, status, body, location FROM idempotency_keys
      WHERE api_key = $1 AND key = $2 AND created_at > now() - $3 * interval '1 millisecond'`,
    values: [apiKey, key, ANSWER_LIFETIME_MS],
  });
  return rows[0];
}

/** The first answer stays, unless its time is over: of two that ran at once, both did the same. */
export async function keepAnswer(db: Queryable, ref: IdempotencyRef, answer: StoredAnswer): Promise<void> {
  await query(db, 'keepAnswer', {
    name: 'keep-answer',
    text: `INSERT INTO idempotency_keys AS kept (api_key, key, fingerprint, status, body, location)
      VALUES ($1, $2, $3, $4, $5, $6)
      ON CONFLICT (api_key, key) DO UPDATE SET
        fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status, body = EXCLUDED.body,
        location = EXCLUDED.location, created_at = now()
      WHERE kept.created_at <= now() - $7 * interval '1 millisecond'`,
    values: [
      ref.apiKey,
      ref.key,
      answer.fingerprint,
      answer.status,
      JSON.stringify(answer.body),
      answer.location,
      ANSWER_LIFETIME_MS,
    ],
  });
}

/** Answers how many were too old. */
export async function purgeAnswers(db: Queryable): Promise<number> {
  const { rowCount } = await query(db, 'purgeAnswers', {
    text: `DELETE FROM idempotency_keys WHERE created_at <= now() - $1 * interval '1 millisecond'`,
    values: [ANSWER_LIFETIME_MS],
  });
  return rowCount ?? 0;
}
