/** Whole objects on their way to S3, of which the last that arrives stays: who may send, and how long it may take. */
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import type { PartRef } from './session-parts.js';

export interface ClaimedPut extends PartRef {
  /** As `claimPart` answered. */
  claim: number;
}

/**
 * Asked by a request before the last of its bytes goes. True: it is the newest, the session takes it, and what it sends may
 * arrive for so long from now on.
 */
export async function letPutGo(
  db: Queryable,
  { session, generation, partNumber, claim }: ClaimedPut,
  arrivesWithinMs: number,
): Promise<boolean> {
  const { rowCount } = await query(db, 'letPutGo', {
    name: 'let-put-go',
    // It writes the row that closing the session writes, so one of the two is first.
    text: `UPDATE sessions AS s
              SET puts = s.puts + 1,
                  puts_until = greatest(s.puts_until, now() + $5::float8 * interval '1 millisecond')
             FROM session_parts p
            WHERE s.id = $1 AND s.generation = $2 AND s.open
              AND p.session = s.id AND p.part_number = $3 AND p.generation = s.generation AND p.claim = $4`,
    values: [session, generation, partNumber, claim, arrivesWithinMs],
  });
  return rowCount === 1;
}

/**
 * Milliseconds for which what was let go may still replace what is at the key. 0 also where only one ever was: then it is
 * that one that is seen.
 */
export async function putsLeft(db: Queryable, session: string): Promise<number> {
  const { rows } = await query<{ left: string }>(db, 'putsLeft', {
    name: 'puts-left',
    text: `SELECT ceil(extract(epoch FROM puts_until - now()) * 1000)::bigint AS left
             FROM sessions WHERE id = $1 AND puts > 1`,
    values: [session],
  });
  return Math.max(0, Number(rows[0]?.left ?? 0));
}
