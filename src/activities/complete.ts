/** `completeMultipartUpload`: makes an object of the parts, once. */
import { combineCrc32 } from '../core/crc32.js';
import { LongshoreError } from '../core/errors.js';
import { crcToBase64, Ledger, type LedgerEntry } from './ledger.js';
import { partRange } from '../core/part-plan.js';
import type { CompleteInput, PartsPlan, StoredObject } from '../core/upload-steps.js';
import { withKey } from '../infra/s3/customer-keys.js';
import {
  carriesToken,
  type CompletedPart,
  type CompleteRequest,
  type ObjectStore,
} from '../infra/s3/store.js';
import type { Sources } from '../infra/sources/source.js';
import { attempting } from './attempt.js';
import type { KeysOf, UploadKeys } from './keyed.js';
import { headIfAllowed, settle } from './objects.js';
import { askHolding, heldBy, replacedMeanwhile, type Condition } from './own-place.js';

interface CompleteDeps {
  store: ObjectStore;
  sources: Sources;
  keysOf: KeysOf;
}

/** Answers after which the object may be there all the same: our own earlier Complete may have brought them about. */
export const AMBIGUOUS = new Set(['NoSuchUpload', 'PreconditionFailed', 'AccessDenied', 'UploadConflict']);

export function createComplete({
  store: plain,
  sources,
  keysOf,
}: CompleteDeps): (input: CompleteInput) => Promise<StoredObject> {
  return async (input) =>
    await attempting(async (attempt) => {
      const { upload, inspection, created } = input;
      const keys = await keysOf(upload, 'CompleteMultipartUpload');
      const store = withKey(plain, keys.destination);
      const find = (): Promise<StoredObject | null> =>
        settle(store, upload, inspection, created.token, attempt.signal);
      const { request, crc32 } = completion(input);
      // An earlier Complete may have gone through though its answer was lost.
      const repeated = input.again || attempt.previous > 0;
      const earlier = repeated ? await find() : null;
      if (earlier !== null) return checked(earlier, crc32, input.size);
      const place = { before: inspection.before ?? created.before, keys, op: 'CompleteMultipartUpload' };
      const look = async (): Promise<Condition> => {
        await checkSource(sources, input, keys, attempt.signal);
        const held = await heldBy(plain, input, place, attempt.signal);
        attempt.fence();
        return held;
      };
      const held = await look();
      try {
        const answer = await askHolding(held, look, (condition) =>
          store.completeMultipartUpload({ ...request, ...condition }, attempt.signal),
        );
        if (repeated) await confirm(store, input, attempt.signal);
        return {
          etag: answer.etag,
          size: input.size,
          token: created.token,
          checksumAccepted: crc32 !== undefined && answer.crc32 !== undefined,
          bytesSent: 0,
          ...(answer.versionId === undefined ? {} : { versionId: answer.versionId }),
          ...(crc32 === undefined ? {} : { crc32 }),
        };
      } catch (error) {
        if (!(error instanceof LongshoreError) || !AMBIGUOUS.has(error.code)) throw error;
        const found = await find();
        if (found !== null) return checked(found, crc32, input.size);
        const replaced = held.ifMatch !== undefined && error.code === 'PreconditionFailed';
        throw replaced ? replacedMeanwhile(place.op, upload.destination, error) : error;
      }
    });
}

/**
 * Some servers call an upload complete, when asked again, as soon as any object is at the key. After an attempt whose
 * outcome nobody knows, only our token proves that it is ours.
 */
export async function confirm(
  store: ObjectStore,
  { upload, created }: Pick<CompleteInput, 'upload' | 'created'>,
  signal: AbortSignal,
): Promise<void> {
  const { destination } = upload;
  const head = await headIfAllowed(store, destination, signal);
  if (head === 'unknown' || (typeof head === 'object' && carriesToken(head, created.token))) return;
  throw new LongshoreError(
    'NoSuchUpload',
    'the server says complete, but the object at the key is not ours',
    {
      op: 'CompleteMultipartUpload',
      key: `s3://${destination.bucket}/${destination.key}`,
    },
  );
}

async function checkSource(
  sources: Sources,
  { inspection }: CompleteInput,
  keys: UploadKeys,
  signal: AbortSignal,
): Promise<void> {
  const source = await sources.open(inspection.source, signal, keys.source);
  try {
    await source.check(signal);
  } finally {
    await source.close();
  }
}

/** Our own ETags and checksums: they are what we vouch for. */
function completion(input: CompleteInput): { request: CompleteRequest; crc32: string | undefined } {
  const { upload, inspection, created, size } = input;
  const ledger = Ledger.decode(...input.ledgers);
  const { parts: plan } = inspection.plan as PartsPlan;
  const numbers = ledger.parts();
  const count = plan.count ?? numbers.length;
  if (numbers.length !== count || numbers.at(-1) !== count) {
    throw new LongshoreError('InvalidRequest', `the ledger has ${numbers.length} of ${count} parts`, {
      op: 'CompleteMultipartUpload',
      key: upload.destination.key,
    });
  }
  let whole: number | undefined = 0;
  const parts = numbers.map((partNumber): CompletedPart => {
    const { etag, crc } = ledger.get(partNumber) as LedgerEntry;
    const { offset, length } = partRange(plan, partNumber);
    whole =
      whole === undefined || crc === undefined
        ? undefined
        : combineCrc32(whole, crc, Math.min(length, size - offset));
    return { partNumber, etag, ...(crc === undefined ? {} : { crc32: crcToBase64(crc) }) };
  });
  const crc32 = whole === undefined ? undefined : crcToBase64(whole);
  const { ifNoneMatch } = inspection.options;
  const request = {
    ...upload.destination,
    s3UploadId: created.s3UploadId,
    parts,
    size,
    ...(crc32 === undefined ? {} : { crc32 }),
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
  };
  return { request, crc32 };
}

/** An object that we found carries our token; it is success only if it is what we sent. */
export function checked(found: StoredObject, crc32: string | undefined, size: number): StoredObject {
  const differs =
    found.size !== size || (crc32 !== undefined && found.crc32 !== undefined && found.crc32 !== crc32);
  if (differs) {
    const message = `the object has ${found.size} bytes and CRC32 ${found.crc32 ?? 'unknown'}, not ${size} and ${crc32 ?? 'none'}`;
    throw new LongshoreError('VerificationFailed', message, { op: 'CompleteMultipartUpload' });
  }
  return crc32 === undefined ? found : { ...found, crc32 };
}
