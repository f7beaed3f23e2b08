/** `verifyObject`: what S3 says of the object, held against what was sent. */
import { LongshoreError } from '../core/errors.js';
import { VERIFICATION_LEVELS, type UploadObjectInput, type Verification } from '../core/uploads.js';
import type { PinnedSource, StoredObject, VerifiedObject, VerifyInput } from '../core/upload-steps.js';
import type { CustomerKey } from '../infra/keys/index.js';
import { withKey } from '../infra/s3/customer-keys.js';
import { carriesToken, type ObjectHead, type ObjectRef, type ObjectStore } from '../infra/s3/store.js';
import { attempting } from './attempt.js';
import type { KeysOf, UploadKeys } from './keyed.js';
import { headIfAllowed } from './objects.js';

export interface VerifyDeps {
  store: ObjectStore;
  keysOf: KeysOf;
}

export function createVerifyObject({
  store,
  keysOf,
}: VerifyDeps): (input: VerifyInput) => Promise<VerifiedObject> {
  return async (input) =>
    await attempting(async ({ signal }) => {
      const { stored, upload, inspection } = input;
      const key = `s3://${upload.destination.bucket}/${upload.destination.key}`;
      const version = stored.versionId === undefined ? {} : { versionId: stored.versionId };
      // Without permission to read, the answers to our requests are all that vouches for the object.
      const at = { ...upload.destination, ...version };
      const keys = await keysOf(upload, 'verifyObject');
      const head = await headIfAllowed(withKey(store, keys.destination), at, signal);
      if (head !== 'unknown') compare(head, stored, key);
      for (const wrong of wrongKeys(upload, keys)) await mustNotOpen(withKey(store, wrong), at, signal);
      const verification = levelOf(head, stored, inspection.source);
      demand(verification, upload.options.demand, key);
      return { verification, size: stored.size, etag: stored.etag, ...version };
    });
}

/** What must not open it: no key where a customer's key encrypts it, and the key that it was encrypted with before. */
function wrongKeys(
  { source, destination: { bucket, key } }: UploadObjectInput,
  { destination: ours, source: former }: UploadKeys,
): (CustomerKey | undefined)[] {
  const wrong: (CustomerKey | undefined)[] = ours === undefined ? [] : [undefined];
  const rotated =
    source.kind === 'object' && source.store === undefined && source.bucket === bucket && source.key === key;
  if (rotated && former !== undefined && former.md5 !== ours?.md5) wrong.push(former);
  return wrong;
}

async function mustNotOpen(store: ObjectStore, at: ObjectRef, signal: AbortSignal): Promise<void> {
  const head = await headIfAllowed(store, at, signal);
  if (head === undefined || typeof head === 'string') return;
  const key = `s3://${at.bucket}/${at.key}`;
  const message = 'the object can be read without the customer’s key, or still with the former one';
  throw new LongshoreError('VerificationFailed', message, { op: 'HeadObject', key });
}

function compare(head: ObjectHead | undefined | 'foreign', stored: StoredObject, key: string): void {
  if (head === 'foreign') {
    const message = 'someone else wrote to the key right after, with another encryption';
    throw new LongshoreError('OutcomeUnknown', message, { op: 'HeadObject', key });
  }
  if (head === undefined) {
    throw new LongshoreError('OutcomeUnknown', 'the object was written, and is gone', {
      op: 'HeadObject',
      key,
    });
  }
  if (!carriesToken(head, stored.token)) {
    const message = `someone else wrote to the key right after (ETag ${head.etag}, of ${head.lastModified})`;
    throw new LongshoreError('OutcomeUnknown', message, { op: 'HeadObject', key });
  }
  const differs =
    head.size !== stored.size ||
    (stored.crc32 !== undefined && (head.crc32 ?? stored.crc32) !== stored.crc32);
  if (differs) {
    const message = `${head.size} bytes with CRC32 ${head.crc32 ?? 'unknown'}; sent were ${stored.size} with ${stored.crc32 ?? 'none'}`;
    throw new LongshoreError('VerificationFailed', message, { op: 'HeadObject', key });
  }
}

function levelOf(
  head: ObjectHead | undefined | 'unknown' | 'foreign',
  stored: StoredObject,
  source: PinnedSource,
): Verification {
  const seen = typeof head === 'string' ? undefined : head?.crc32;
  // Bytes that the server copied never passed through us: only the source's own checksum vouches for them.
  const ours = source.kind === 'object' && source.serverSide ? source.crc32 : stored.crc32;
  if (seen !== undefined && seen === ours) return 'full';
  return stored.checksumAccepted ? 'server' : 'size';
}

function demand(level: Verification, least: Verification | undefined, key: string): void {
  if (least === undefined || VERIFICATION_LEVELS.indexOf(level) >= VERIFICATION_LEVELS.indexOf(least)) return;
  const message = `the object is there, but verified only by ${level}; ${least} was demanded`;
  throw new LongshoreError('VerificationTooWeak', message, { op: 'HeadObject', key });
}
