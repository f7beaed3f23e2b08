/** Waits a little for a session's end, so that a caller is told of it and not of a wish. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isTerminal } from '../../core/states.js';
import { getSession, type SessionRow } from '../../infra/catalog/sessions.js';
import type { Queryable } from '../../infra/catalog/pool.js';

const WAIT_MS = 5_000;
const FIRST_PAUSE_MS = 20;
const LAST_PAUSE_MS = 250;

/** undefined when it has not ended by then. */
export async function eventuallyEnded(db: Queryable, id: string): Promise<SessionRow | undefined> {
  const until = performance.now() + WAIT_MS;
  for (let pause = FIRST_PAUSE_MS; performance.now() < until; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
    await sleep(pause);
    const row = await getSession(db, id);
    if (row !== undefined && isTerminal(row.state)) return row;
  }
  return undefined;
}
