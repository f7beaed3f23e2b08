/** Another S3 object as a source. Every request names the ETag that was pinned, so no byte of a newer one slips in. */
import { Readable } from 'node:stream';
import { LongshoreError, type ErrorCode } from '../../core/errors.js';
import { sourceLabel, type ObjectSource } from '../../core/uploads.js';
import type { PinnedSource } from '../../core/upload-steps.js';
import { withKey } from '../s3/customer-keys.js';
import type { ObjectHead, ObjectRef, ObjectStore } from '../s3/store.js';
import type { CarriedAttributes, OpenSource, SourceKind } from './source.js';
import { fillFrom, watchedStream, type LengthWatch } from './streams.js';

type PinnedObject = PinnedSource & { kind: 'object' };

export interface ObjectStores {
  /** undefined: the destination's store. Throws for a name that configuration does not know. */
  stores: (name: string | undefined) => ObjectStore;
  /** Whether a named store has the endpoint and credentials of the destination's. */
  sameStore?: ((name: string) => boolean) | undefined;
}

export function createObjectSource({ stores, sameStore }: ObjectStores): SourceKind<ObjectSource> {
  return {
    async inspect(source, signal, customerKey) {
      const store = withKey(stores(source.store), customerKey);
      const head = await ask(source, 'inspect', signal, () => store.headObject(refOf(source), signal));
      if (head === undefined) throw objectError('SourceNotFound', 'no object is there', source, 'inspect');
      const serverSide = source.store === undefined || (sameStore?.(source.store) ?? false);
      const pinned: PinnedObject = {
        kind: 'object',
        ...(source.store === undefined ? {} : { store: source.store }),
        ...refOf(source),
        ...(source.sealedKey === undefined ? {} : { sealedKey: source.sealedKey }),
        size: head.size,
        etag: head.etag,
        crc32: head.crc32 ?? null,
        serverSide,
      };
      return {
        ...{ pinned, contentType: head.contentType, access: 'random' },
        attributes: async (until) => carriedBy(head, await store.getTags(refOf(source), until)),
      };
    },

    // async, so that an unknown store rejects like everything else
    async open(pinned, signal, customerKey) {
      signal.throwIfAborted();
      return openObject(withKey(stores(pinned.store), customerKey), pinned);
    },
  };
}

/** But for our own token, which says whose the source is, not whose its copy will be. */
function carriedBy({ metadata, cacheControl }: ObjectHead, tags: Record<string, string>): CarriedAttributes {
  const theirs = Object.entries(metadata).filter(([name]) => !name.startsWith('longshore-'));
  return {
    ...(cacheControl === undefined ? {} : { cacheControl }),
    metadata: Object.fromEntries(theirs),
    tags,
  };
}

function openObject(store: ObjectStore, pinned: PinnedObject): OpenSource {
  const body = async (offset: number, length: number, op: string, signal: AbortSignal): Promise<Readable> => {
    const request = { ...refOf(pinned), ifMatch: pinned.etag, offset, length };
    return askPinned(pinned, op, signal, () => store.getObject(request, signal));
  };
  const check = async (signal: AbortSignal): Promise<void> => {
    const head = await askPinned(pinned, 'check', signal, () => store.headObject(refOf(pinned), signal));
    if (head === undefined) throw objectError('SourceChanged', 'it is gone', pinned, 'check');
    if (head.etag !== pinned.etag || head.size !== pinned.size) {
      throw objectError(
        'SourceChanged',
        `its ETag was ${pinned.etag}, now it is ${head.etag}`,
        pinned,
        'check',
      );
    }
  };
  return {
    check,
    async read(offset, target, signal) {
      // No range can name zero bytes.
      if (target.length === 0) return;
      const stream = await body(offset, target.length, 'read', signal);
      await fillFrom(stream, target, watch(pinned, 'read', target.length, signal));
    },
    async stream(offset, length, signal) {
      const wanted = length ?? pinned.size - offset;
      if (wanted === 0) {
        await check(signal);
        return Readable.from([]);
      }
      return watchedStream(
        await body(offset, wanted, 'stream', signal),
        watch(pinned, 'stream', wanted, signal),
      );
    },
    close: () => Promise.resolve(),
  };
}

function watch(pinned: PinnedObject, op: string, expected: number, signal: AbortSignal): LengthWatch {
  return {
    expected,
    onShort: (got) => objectError('SourceUnavailable', `the answer ended after ${got} bytes`, pinned, op),
    onLong: (got) =>
      objectError('SourceChanged', `${got} bytes came where ${expected} were asked`, pinned, op),
    onError: (error) => failureOf(error, pinned, op, signal),
  };
}

function refOf({ bucket, key, versionId }: ObjectSource): ObjectRef {
  return versionId === undefined ? { bucket, key } : { bucket, key, versionId };
}

async function ask<T>(
  source: ObjectSource,
  op: string,
  signal: AbortSignal,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw failureOf(error, source, op, signal);
  }
}

async function askPinned<T>(
  pinned: PinnedObject,
  op: string,
  signal: AbortSignal,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await ask(pinned, op, signal, call);
  } catch (error) {
    if (!(error instanceof LongshoreError) || error.code !== 'SourceNotFound') throw error;
    throw objectError('SourceChanged', 'it is gone', pinned, op, error);
  }
}

/** The store speaks of buckets and objects; of a source, the same failures mean this. The rest stays what it is. */
const AS_SOURCE: Partial<Record<ErrorCode, ErrorCode>> = {
  NoSuchBucket: 'SourceNotFound',
  NotFound: 'SourceNotFound',
  AccessDenied: 'SourceDenied',
  PreconditionFailed: 'SourceChanged',
  WrongCustomerKey: 'SourceDenied',
};

function failureOf(error: unknown, source: ObjectSource, op: string, signal: AbortSignal): Error {
  if (signal.aborted)
    return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
  if (!(error instanceof LongshoreError)) {
    const message = error instanceof Error ? error.message : String(error);
    return objectError('SourceUnavailable', message, source, op, error);
  }
  const code = AS_SOURCE[error.code];
  return code === undefined ? error : objectError(code, error.message, source, op, error);
}

function objectError(
  code: ErrorCode,
  message: string,
  source: ObjectSource,
  op: string,
  cause?: unknown,
): LongshoreError {
  const label = sourceLabel(source);
  return new LongshoreError(code, `${label}: ${message}`, { op, key: label, cause });
}
