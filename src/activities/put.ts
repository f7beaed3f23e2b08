/** `putObject`: what is under the threshold goes as one PutObject, or one CopyObject where the server has it already. */
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../core/errors.js';
import { crcToBase64 } from './ledger.js';
import { sourceLabel } from '../core/uploads.js';
import type { PinnedSource, PutInput, StoredObject } from '../core/upload-steps.js';
import { withKey } from '../infra/s3/customer-keys.js';
import { tokenMetadata, type PutAnswer } from '../infra/s3/store.js';
import type { OpenSource } from '../infra/sources/source.js';
import { attempting, type Attempt } from './attempt.js';
import type { UploadKeys } from './keyed.js';
import { attributesOf, settle } from './objects.js';
import { askHolding, heldBy, type Condition } from './own-place.js';
import type { PartsDeps } from './parts.js';

interface Sent {
  answer: PutAnswer;
  crc32: string | undefined;
  bytesSent: number;
}

/** Answers after which the object may be there all the same: an earlier request of ours may have brought them about. */
const AMBIGUOUS: ReadonlySet<string> = new Set(['PreconditionFailed', 'SourceChanged']);

export function createPutObject(plain: PartsDeps): (input: PutInput) => Promise<StoredObject> {
  return async (input) =>
    await attempting(async (attempt) => {
      const { upload, inspection, token, again } = input;
      const keys = await plain.keysOf(upload, 'putObject');
      const store = withKey(plain.store, keys.destination);
      const find = (): Promise<StoredObject | null> =>
        settle(store, upload, inspection, token, attempt.signal);
      // Sending again could overwrite what someone else wrote after us: look first whether ours arrived.
      const earlier = again || attempt.previous > 0 ? await find() : null;
      if (earlier !== null) return earlier;
      try {
        const { answer, ...sent } = await send(plain, input, keys, attempt);
        const { etag, versionId, checksumAccepted } = answer;
        return {
          ...{
            etag,
            checksumAccepted,
            token,
            size: inspection.plan.kind === 'parts' ? 0 : inspection.plan.size,
          },
          bytesSent: sent.bytesSent,
          ...(versionId === undefined ? {} : { versionId }),
          ...(sent.crc32 === undefined ? {} : { crc32: sent.crc32 }),
        };
      } catch (error) {
        const found = error instanceof LongshoreError && AMBIGUOUS.has(error.code) ? await find() : null;
        if (found === null) throw error;
        return found;
      }
    });
}

function send(deps: PartsDeps, input: PutInput, keys: UploadKeys, attempt: Attempt): Promise<Sent> {
  const way = input.inspection.plan.kind === 'copy' ? copyWhole : putWhole;
  return way(deps, input, keys, attempt);
}

async function copyWhole(
  { store: plain }: PartsDeps,
  input: PutInput,
  keys: UploadKeys,
  attempt: Attempt,
): Promise<Sent> {
  const { upload, inspection, token } = input;
  const { source, options } = inspection;
  if (source.kind !== 'object') throw new TypeError('only objects can be copied by the server');
  const { bucket, key, versionId, etag } = source;
  const from = {
    ...{ bucket, key, ifMatch: etag },
    ...(versionId === undefined ? {} : { versionId }),
    ...(keys.source === undefined ? {} : { customerKey: keys.source }),
  };
  const request = {
    ...upload.destination,
    ...attributesOf(inspection, tokenMetadata(token)),
    source: from,
    ...(options.ifNoneMatch === undefined ? {} : { ifNoneMatch: options.ifNoneMatch }),
  };
  const store = withKey(plain, keys.destination);
  const place = { before: inspection.before, keys, op: 'CopyObject' };
  const look = async (): Promise<Condition> => {
    await attempt.confirm();
    const held = await heldBy(plain, input, place, attempt.signal);
    attempt.fence();
    return held;
  };
  const answer = await askHolding(await look(), look, (condition) =>
    store.copyObject({ ...request, ...condition }, attempt.signal),
  );
  return { answer, crc32: source.crc32 ?? undefined, bytesSent: 0 };
}

async function putWhole(deps: PartsDeps, input: PutInput, keys: UploadKeys, attempt: Attempt): Promise<Sent> {
  const { upload, inspection, token } = input;
  const { size } = inspection.source;
  const { checksum, ifNoneMatch } = inspection.options;
  const source = await deps.sources.open(inspection.source, attempt.signal, keys.source);
  const body = await deps.buffers.acquire(Math.max(1, size ?? 0), attempt.signal);
  const store = withKey(deps.store, keys.destination);
  try {
    const bytes = body.subarray(0, size ?? 0);
    await readWhole(source, inspection.source, bytes, attempt.signal);
    await source.check(attempt.signal);
    const crc = checksum ? crcToBase64(crc32(bytes)) : undefined;
    await attempt.confirm();
    const request = {
      ...upload.destination,
      ...attributesOf(inspection, tokenMetadata(token)),
      body: bytes,
      ...(crc === undefined ? {} : { crc32: crc }),
      ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
    };
    return {
      answer: await store.putObject(request, attempt.signal),
      crc32: crc,
      bytesSent: bytes.length,
    };
  } finally {
    deps.buffers.release(body);
    await source.close();
  }
}

async function readWhole(
  source: OpenSource,
  pinned: PinnedSource,
  target: Buffer,
  signal: AbortSignal,
): Promise<void> {
  if (pinned.kind !== 'url' || pinned.ranges) return source.read(0, target, signal);
  let filled = 0;
  for await (const chunk of await source.stream(0, target.length, signal)) {
    filled += (chunk as Buffer).copy(target, filled);
  }
  if (filled === target.length) return;
  const message = `the source ended after ${filled} of ${target.length} bytes`;
  throw new LongshoreError('SourceChanged', message, { op: 'read', key: sourceLabel(pinned) });
}
