/** Objects that are made anew at their own key: they must not replace what was written there meanwhile. */
import { LongshoreError } from '../core/errors.js';
import type { Destination, UploadObjectInput } from '../core/uploads.js';
import type { Inspection, KeyHolder, PinnedSource } from '../core/upload-steps.js';
import type { ObjectStore } from '../infra/s3/store.js';
import type { UploadKeys } from './keyed.js';
import { holderAt, sameHolder } from './objects.js';

/** Source and destination are one key. */
export function isOwnPlace(
  { destination }: Pick<UploadObjectInput, 'destination'>,
  source: PinnedSource,
): source is Extract<PinnedSource, { kind: 'object' }> {
  const { bucket, key } = destination;
  return source.kind === 'object' && source.serverSide && source.bucket === bucket && source.key === key;
}

/** What a server that looks for itself is to be asked for. */
export interface Condition {
  ifMatch?: string;
}

interface Held {
  /** What was there when we began with an earlier version of it; undefined: nobody looked. */
  before: KeyHolder | undefined;
  keys: UploadKeys;
  op: string;
}

/**
 * What the key must still hold: the source itself, or what was there before. Not every server looks at the condition, so that
 * is looked at here once more, as far as we may. Throws SourceChanged.
 */
export async function heldBy(
  store: ObjectStore,
  { upload, inspection }: { upload: UploadObjectInput; inspection: Inspection },
  { before, keys, op }: Held,
  signal: AbortSignal,
): Promise<Condition> {
  const { source, options } = inspection;
  if (!isOwnPlace(upload, source) || options.ifNoneMatch !== undefined) return {};
  if (source.versionId === undefined) return { ifMatch: source.etag };
  if (before === undefined) return {};
  if (!sameHolder(before, await holderAt(store, upload.destination, keys, signal), false))
    throw replacedMeanwhile(op, upload.destination);
  return typeof before === 'string' ? {} : { ifMatch: before.etag };
}

/** Asks under the condition that was `held`; a server that cannot judge it is asked without, after another look. */
export async function askHolding<T>(
  held: Condition,
  look: () => Promise<unknown>,
  ask: (condition: Condition) => Promise<T>,
): Promise<T> {
  try {
    return await ask(held);
  } catch (error) {
    if (held.ifMatch === undefined || !isUndecided(error)) throw error;
    await look();
    return await ask({});
  }
}

/** MinIO reads no condition on an object under a customer's key that the request does not bring; others know none at all. */
function isUndecided(error: unknown): boolean {
  return (
    error instanceof LongshoreError && (error.code === 'InvalidRequest' || error.code === 'NotSupported')
  );
}

/** Another object was written to the key. */
export function replacedMeanwhile(op: string, { bucket, key }: Destination, cause?: unknown): LongshoreError {
  const message = `another object was written to s3://${bucket}/${key} meanwhile`;
  return new LongshoreError('SourceChanged', message, {
    op,
    key: `s3://${bucket}/${key}`,
    cause,
    hint: 'Nothing was replaced. Look at what is there now, and ask again if it is still wanted.',
  });
}
