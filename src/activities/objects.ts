/** What is at a key, and whose it is. */
import { LongshoreError } from '../core/errors.js';
import type { Destination, UploadObjectInput } from '../core/uploads.js';
import type { Inspection, KeyHolder, StoredObject, TruthToken } from '../core/upload-steps.js';
import {
  carriesToken,
  holderOf,
  type ObjectAttributes,
  type ObjectHead,
  type ObjectRef,
  type ObjectStore,
} from '../infra/s3/store.js';

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

/** HEAD, or `unknown` where the credentials may not look. */
export async function headIfAllowed(
  store: ObjectStore,
  at: ObjectRef,
  signal: AbortSignal,
): Promise<ObjectHead | undefined | 'unknown'> {
  try {
    return await store.headObject(at, signal);
  } catch (error) {
    if (error instanceof LongshoreError && error.code === 'AccessDenied') return 'unknown';
    throw error;
  }
}

export async function holderAt(store: ObjectStore, at: Destination, signal: AbortSignal): Promise<KeyHolder> {
  const head = await headIfAllowed(store, at, signal);
  return head === 'unknown' ? head : holderOf(head);
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
  if (head === undefined || head === 'unknown' || !carriesToken(head, token)) return null;
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
