/** What is at a key, and whose it is. */
import { LongshoreError } from '../core/errors.js';
import type { Destination, UploadObjectInput } from '../core/uploads.js';
import type { Inspection, KeyHolder, StoredObject, TruthToken } from '../core/upload-steps.js';
import { withKey } from '../infra/s3/customer-keys.js';
import {
  carriesToken,
  holderOf,
  type ObjectAttributes,
  type ObjectHead,
  type ObjectRef,
  type ObjectStore,
} from '../infra/s3/store.js';
import type { UploadKeys } from './keyed.js';

export function attributesOf({ options }: Inspection, token: Record<string, string>): ObjectAttributes {
  const { contentType, cacheControl, metadata, tags, storageClass, encryption } = options;
  return {
    contentType,
    metadata: { ...metadata, ...token },
    ...(cacheControl === undefined ? {} : { cacheControl }),
    ...(tags === undefined ? {} : { tags }),
    ...(storageClass === undefined ? {} : { storageClass }),
    ...(encryption === undefined ? {} : { encryption }),
  };
}

/** HEAD; `unknown` where the credentials may not look, `foreign` when what is there has another encryption than ours. */
export async function headIfAllowed(
  store: ObjectStore,
  at: ObjectRef,
  signal: AbortSignal,
): Promise<ObjectHead | undefined | 'unknown' | 'foreign'> {
  try {
    return await store.headObject(at, signal);
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    if (error.code === 'AccessDenied') return 'unknown';
    if (error.code === 'WrongCustomerKey') return 'foreign';
    throw error;
  }
}

/** What is at the key may be encrypted with our key, with that of our source when it is the same place, or with none. */
export async function holderAt(
  store: ObjectStore,
  at: Destination,
  keys: UploadKeys,
  signal: AbortSignal,
): Promise<KeyHolder> {
  const { destination, source } = keys;
  const tries = new Set([destination, undefined, source]);
  for (const customerKey of tries) {
    const head = await headIfAllowed(withKey(store, customerKey), at, signal);
    if (head !== 'unknown' && head !== 'foreign') return holderOf(head);
  }
  return 'unknown';
}

/**
 * Whether nobody wrote to the key between two looks. Where we may not look, that is taken for granted only as long as
 * no Complete of ours was tried.
 */
export function sameHolder(before: KeyHolder, now: KeyHolder, completing: boolean): boolean {
  if (before === 'unknown' || now === 'unknown') return !completing;
  if (before === 'absent' || now === 'absent') return before === now;
  return before.etag === now.etag && before.lastModified === now.lastModified;
}

export function describeHolder(holder: KeyHolder): string {
  if (holder === 'absent') return 'nothing';
  if (holder === 'unknown') return 'what we may not look at';
  return `another object (ETag ${holder.etag}, of ${holder.lastModified})`;
}

/** The object at the key if it carries our token and is whole; null otherwise, also where we may not look. */
export async function settle(
  store: ObjectStore,
  { destination }: UploadObjectInput,
  inspection: Inspection,
  token: TruthToken,
  signal: AbortSignal,
): Promise<StoredObject | null> {
  const head = await headIfAllowed(store, destination, signal);
  if (head === undefined || typeof head === 'string' || !carriesToken(head, token)) return null;
  const { size } = inspection.source;
  if (size !== null && head.size !== size) return null;
  return storedFrom(head, token);
}

export function storedFrom(head: ObjectHead, token: TruthToken, crc32 = head.crc32): StoredObject {
  return {
    etag: head.etag,
    size: head.size,
    token,
    checksumAccepted: head.crc32 !== undefined,
    bytesSent: 0,
    ...(head.versionId === undefined ? {} : { versionId: head.versionId }),
    ...(crc32 === undefined ? {} : { crc32 }),
  };
}
