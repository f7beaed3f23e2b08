/** `completeSession`: makes an object of what a client brought, once, or says what is missing. */
import { LongshoreError } from '../core/errors.js';
import type { ServerProfile } from '../core/part-plan.js';
import type { CompleteSessionInput, SessionCompletion } from '../core/sessions.js';
import type { PartsPlan, StoredObject, VerifiedObject, VerifyInput } from '../core/upload-steps.js';
import { differenceOf } from '../core/validate-sessions.js';
import { readParts, takeBackParts, type SessionPart } from '../infra/catalog/session-parts.js';
import type { Queryable } from '../infra/catalog/pool.js';
import { setOpen } from '../infra/catalog/sessions.js';
import { withKey } from '../infra/s3/customer-keys.js';
import type { CompleteRequest, ObjectStore } from '../infra/s3/store.js';
import { assemble, recall, type Assembled } from './assemble.js';
import { attempting, type Attempt } from './attempt.js';
import { AMBIGUOUS, checked, confirm } from './complete.js';
import type { KeysOf } from './keyed.js';
import { settle } from './objects.js';

export interface CompleteSessionDeps {
  db: Queryable;
  store: ObjectStore;
  profile: ServerProfile;
  keysOf: KeysOf;
  verify(input: VerifyInput): Promise<VerifiedObject>;
}

const PAGE = 1000;

export function createCompleteSession(
  deps: CompleteSessionDeps,
): (input: CompleteSessionInput) => Promise<SessionCompletion> {
  return async (input) => {
    const answer = await complete(deps, input);
    if (!('stored' in answer)) return answer;
    const { upload, inspection } = input;
    // One step less while somebody waits. Whatever stands against it, the workflow looks by itself, and hears it.
    const verified = await deps
      .verify({ upload, inspection, stored: answer.stored })
      .catch((): undefined => undefined);
    return verified === undefined ? answer : { ...answer, verified };
  };
}

async function complete(deps: CompleteSessionDeps, input: CompleteSessionInput): Promise<SessionCompletion> {
  return await attempting(async (attempt) => {
    const keys = await deps.keysOf(input.upload, 'completeSession');
    const store = withKey(deps.store, keys.destination);
    const completion = new Completion({ ...deps, store }, input, attempt);
    // An earlier Complete may have gone through though its answer was lost.
    const earlier = completion.repeated ? await completion.find() : undefined;
    if (earlier !== undefined) return earlier;
    const { generation, turn } = input;
    const session = { id: input.upload.id, generation, turn };
    // An attempt that stood still neither shuts what a later one has opened nor opens what it has shut.
    const step = 2 * attempt.previous;
    attempt.fence();
    await setOpen(deps.db, { ...session, step }, false);
    const answer = await completion.run();
    if ('stored' in answer) return answer;
    attempt.fence();
    await setOpen(deps.db, { ...session, step: step + 1 }, true);
    return answer;
  });
}

class Completion {
  readonly repeated: boolean;

  constructor(
    private readonly deps: CompleteSessionDeps,
    private readonly input: CompleteSessionInput,
    private readonly attempt: Attempt,
  ) {
    this.repeated = input.again || attempt.previous > 0;
  }

  async run(): Promise<SessionCompletion> {
    const seen = await this.look();
    if (!('whole' in seen)) return seen;
    try {
      return await this.complete(seen.whole);
    } catch (error) {
      if (!(error instanceof LongshoreError) || !AMBIGUOUS.has(error.code)) throw error;
      const found = await this.find();
      if (found !== undefined) return found;
      if (error.code !== 'UploadConflict') throw error;
      // A part that was on its way when the session was closed may have replaced the one that we named.
      const now = await this.look();
      if ('whole' in now) throw error;
      return now;
    }
  }

  /** What is there; an object of ours, when the multipart upload is no more. */
  private async look(): Promise<{ whole: Assembled } | SessionCompletion> {
    const { upload, inspection, created, ask } = this.input;
    const { size, partSize: chunkSize } = (inspection.plan as PartsPlan).parts;
    const { minPartSize } = this.deps.profile;
    const ref = { ...upload.destination, s3UploadId: created.s3UploadId };
    const rows = await this.rows();
    const listed = await this.deps.store.listParts(ref, this.attempt.signal);
    const seen = assemble(rows, listed, { size, chunkSize, chunks: ask.chunks, minPartSize });
    if ('incomplete' in seen) {
      // Clients send what is said to be missing, and would pass over what is said to be there.
      await takeBackParts(this.deps.db, upload.id, this.input.generation, seen.contradicted);
      return { incomplete: seen.incomplete };
    }
    const { whole } = seen;
    const refused = differenceOf(ask, { ...whole, parts: whole.parts.length });
    return refused === undefined ? { whole } : { refused };
  }

  private async complete(whole: Assembled): Promise<SessionCompletion> {
    const { upload, created } = this.input;
    const { signal } = this.attempt;
    this.attempt.fence();
    const answer = await this.deps.store.completeMultipartUpload(this.request(whole), signal);
    if (this.repeated) await confirm(this.deps.store, { upload, created }, signal);
    const crc32 = this.vouchedCrc(whole);
    const { size, bytesSent, parts } = whole;
    const stored: StoredObject = {
      ...{ etag: answer.etag, size, token: created.token, bytesSent },
      checksumAccepted: crc32 !== undefined && answer.crc32 !== undefined,
      ...(answer.versionId === undefined ? {} : { versionId: answer.versionId }),
      ...(crc32 === undefined ? {} : { crc32 }),
    };
    return { stored, parts: parts.length };
  }

  private request({ parts, size, crc32 }: Assembled): CompleteRequest {
    const { upload, created, inspection } = this.input;
    const { checksum, ifNoneMatch } = inspection.options;
    return {
      ...upload.destination,
      ...{ s3UploadId: created.s3UploadId, size },
      parts: checksum ? parts : parts.map(({ partNumber, etag }) => ({ partNumber, etag })),
      ...(crc32 === undefined || !checksum ? {} : { crc32 }),
      ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
    };
  }

  /** Checksums that only the server computed prove nothing; what the client computed does. */
  private vouchedCrc({ crc32, ours }: Pick<Assembled, 'crc32' | 'ours'>): string | undefined {
    return ours || this.input.ask.checksum === `crc32:${crc32}` ? crc32 : undefined;
  }

  /** The object at the key if it is ours. Its rows are as they were: the session was closed before it was completed. */
  async find(): Promise<SessionCompletion | undefined> {
    const { upload, inspection, created } = this.input;
    const found = await settle(this.deps.store, upload, inspection, created.token, this.attempt.signal);
    if (found === null) return undefined;
    const { parts, bytesSent, ours, crc32: own, size } = recall(await this.rows());
    if (ours) return { stored: { ...checked(found, own, size), bytesSent }, parts: parts.length };
    const { crc32: seen, ...rest } = found;
    const crc32 = this.vouchedCrc({ ours, ...(seen === undefined ? {} : { crc32: seen }) });
    const stored: StoredObject = {
      ...{ ...rest, bytesSent, checksumAccepted: crc32 !== undefined },
      ...(crc32 === undefined ? {} : { crc32 }),
    };
    return { stored, parts: parts.length };
  }

  private async rows(): Promise<SessionPart[]> {
    const { upload, generation } = this.input;
    const rows: SessionPart[] = [];
    for (;;) {
      const after = rows.at(-1)?.partNumber ?? 0;
      const page = await readParts(this.deps.db, upload.id, generation, { after, limit: PAGE });
      rows.push(...page);
      if (page.length < PAGE) return rows;
    }
  }
}
