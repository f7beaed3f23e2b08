/** What a session asks of the catalog, and how its parts become an object. */
import type {
  BeginSessionInput,
  BegunSession,
  CompleteSessionInput,
  OpenSessionInput,
  SessionCompletion,
  SessionOpening,
  SetOpenInput,
} from '../core/sessions.js';
import type { Pool } from '../infra/catalog/pool.js';
import { putsLeft } from '../infra/catalog/session-puts.js';
import { expireSession, setOpen, writtenUpload, type WrittenUpload } from '../infra/catalog/sessions.js';
import { createBeginSession, openFor, type BeginSessionDeps } from './begin-session.js';
import { createCompleteSession, type CompleteSessionDeps } from './complete-session.js';
import { mapFailures } from './failures.js';

export interface SessionCatalogActivities {
  /** From here on chunks of this multipart upload are taken, and none of an earlier one. Idempotent. */
  openSession(input: OpenSessionInput): Promise<SessionOpening>;
  /** The multipart upload of a `beginSession` that gave no answer, if it came to write it down; otherwise null. */
  findBegun(begun: WrittenUpload): Promise<string | null>;
  /** Milliseconds until the session expires; 0: it is over, and nothing brings it back. */
  lifeLeft(id: string): Promise<number>;
  /**
   * For one whole object: nobody sends another, or may again. Answers for how many milliseconds one that was sent before may
   * still arrive and replace what is there. Idempotent.
   */
  setSessionOpen(input: SetOpenInput): Promise<number>;
}

export interface SessionActivities {
  /**
   * Plans the session, begins its multipart upload and opens it. Each attempt that did not come to its end may begin one
   * more multipart upload; those whose id was lost are left to the sweep.
   */
  beginSession(input: BeginSessionInput): Promise<BegunSession>;
  /**
   * Makes an object of the chunks, or says what stands against it; then the session takes chunks again. Safe to repeat: an
   * object with our token is success.
   */
  completeSession(input: CompleteSessionInput): Promise<SessionCompletion>;
}

export function createSessionCatalogActivities({ db }: { db: Pool }): SessionCatalogActivities {
  return mapFailures<SessionCatalogActivities>({
    openSession: (input) => openFor(db, input),
    findBegun: async (begun) => (await writtenUpload(db, begun)) ?? null,
    lifeLeft: (id) => expireSession(db, id),
    setSessionOpen: async (input) => {
      await setOpen(db, input, input.open);
      return input.open ? 0 : await putsLeft(db, input.id);
    },
  });
}

export function createSessionActivities(deps: BeginSessionDeps & CompleteSessionDeps): SessionActivities {
  return mapFailures<SessionActivities>({
    beginSession: createBeginSession(deps),
    completeSession: createCompleteSession(deps),
  });
}
