/** What a session asks of the catalog, and how its parts become an object. */
import type {
  CompleteSessionInput,
  OpenSessionInput,
  SessionCompletion,
  SetOpenInput,
} from '../core/sessions.js';
import type { PartsPlan } from '../core/upload-steps.js';
import type { ClientSource } from '../core/uploads.js';
import type { Pool } from '../infra/catalog/pool.js';
import { putsLeft } from '../infra/catalog/session-puts.js';
import { expireSession, openSession, setOpen } from '../infra/catalog/sessions.js';
import { createCompleteSession, type CompleteSessionDeps } from './complete-session.js';
import { mapFailures } from './failures.js';

export interface SessionCatalogActivities {
  /** From here on chunks of this multipart upload are taken, and none of an earlier one. Idempotent. */
  openSession(input: OpenSessionInput): Promise<{ generation: number }>;
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
   * Makes an object of the chunks, or says what stands against it; then the session takes chunks again. Safe to repeat: an
   * object with our token is success.
   */
  completeSession(input: CompleteSessionInput): Promise<SessionCompletion>;
}

export function createSessionCatalogActivities({ db }: { db: Pool }): SessionCatalogActivities {
  return mapFailures<SessionCatalogActivities>({
    openSession: (input) => open(db, input),
    lifeLeft: (id) => expireSession(db, id),
    setSessionOpen: async (input) => {
      await setOpen(db, input, input.open);
      return input.open ? 0 : await putsLeft(db, input.id);
    },
  });
}

export function createSessionActivities(deps: CompleteSessionDeps): SessionActivities {
  return mapFailures<SessionActivities>({ completeSession: createCompleteSession(deps) });
}

async function open(
  db: Pool,
  { upload, inspection, token, s3UploadId, runStartedAt, runGeneration }: OpenSessionInput,
): Promise<{ generation: number }> {
  const { options } = inspection;
  const { parts } = inspection.plan as PartsPlan;
  return await openSession(db, {
    id: upload.id,
    source: upload.source as ClientSource,
    destination: upload.destination,
    contentType: options.contentType,
    metadata: options.metadata ?? {},
    chunkSize: parts.partSize,
    expectedSize: parts.size,
    encryption: options.encryption ?? null,
    checksums: options.checksum,
    apiKey: upload.apiKey ?? null,
    s3UploadId,
    token,
    runStartedAt,
    runGeneration,
  });
}
