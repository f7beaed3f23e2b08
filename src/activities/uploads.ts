/** What moves bytes and speaks to S3 for one object: the activities of the `transfer` queues. */
import { LongshoreError } from '../core/errors.js';
import type { UploadObjectInput } from '../core/uploads.js';
import type {
  AbortInput,
  CompleteInput,
  CreatedUpload,
  CreateInput,
  Inspection,
  PutInput,
  SettleInput,
  StoredObject,
  VerifiedObject,
  VerifyInput,
  WindowInput,
  WindowResult,
} from '../core/upload-steps.js';
import { withKey } from '../infra/s3/customer-keys.js';
import { tokenMetadata } from '../infra/s3/store.js';
import { abortForGood } from './abort.js';
import { attempting } from './attempt.js';
import { createComplete } from './complete.js';
import { mapFailures } from './failures.js';
import type { MustGrant } from './granted.js';
import { createInspectSource, type InspectDeps } from './inspect.js';
import { createUploadParts, type PartsDeps } from './parts.js';
import { createPutObject } from './put.js';
import type { KeysOf } from './keyed.js';
import { attributesOf, describeHolder, holderAt, sameHolder, settle } from './objects.js';
import { createVerifyObject } from './verify.js';

export type TransferDeps = InspectDeps & PartsDeps & { mustGrant: MustGrant; keysOf: KeysOf };

export interface TransferActivities {
  /** Answers as soon as a worker takes it. */
  ping(): Promise<void>;
  /** Pins the source and plans its way. Reads only. */
  inspectSource(input: UploadObjectInput): Promise<Inspection>;
  /** Each attempt may begin one more multipart upload; those whose id was lost are left to the sweep. */
  createMultipartUpload(input: CreateInput): Promise<CreatedUpload>;
  /** Sends what S3 has not yet got. Told to stop, it returns what it has, `finished: false`. */
  uploadParts(input: WindowInput): Promise<WindowResult>;
  /** Safe to repeat: an object with our token is success. */
  completeMultipartUpload(input: CompleteInput): Promise<StoredObject>;
  /** Repeats until ListParts knows the upload no more, and does not know it again a moment later. */
  abortMultipartUpload(input: AbortInput): Promise<void>;
  /** One PutObject or CopyObject. Safe to repeat: an object with our token is success. */
  putObject(input: PutInput): Promise<StoredObject>;
  /** The object at the key if it is ours and whole, otherwise null. Reads only. */
  settleObject(input: SettleInput): Promise<StoredObject | null>;
  /** Compares what S3 says of the object with what was sent. Reads only. */
  verifyObject(input: VerifyInput): Promise<VerifiedObject>;
}

export function createTransferActivities(deps: TransferDeps): TransferActivities {
  const putObject = createPutObject(deps);
  return mapFailures<TransferActivities>({
    ping: () => Promise.resolve(),
    inspectSource: createInspectSource(deps),
    createMultipartUpload: (input) => beginMultipart(deps, input),
    uploadParts: createUploadParts(deps),
    completeMultipartUpload: createComplete(deps),
    abortMultipartUpload: ({ destination, s3UploadId }) =>
      attempting(({ signal }) => abortForGood(deps.store, { ...destination, s3UploadId }, signal)),
    putObject: async (input) => {
      await deps.mustGrant(input.upload);
      return await putObject(input);
    },
    settleObject: ({ upload, inspection, token }) =>
      attempting(async (attempt) => {
        const { destination } = await deps.keysOf(upload, 'settleObject');
        return await settle(withKey(deps.store, destination), upload, inspection, token, attempt.signal);
      }),
    verifyObject: createVerifyObject(deps),
  });
}

/** `earlier`: an attempt before this one has begun it, and nothing of ours can have been completed since. */
export async function beginMultipart(
  { store, mustGrant, keysOf }: Pick<TransferDeps, 'store' | 'mustGrant' | 'keysOf'>,
  input: CreateInput,
  earlier?: string,
): Promise<CreatedUpload> {
  await mustGrant(input.upload);
  return await attempting(async (attempt) => {
    const { signal } = attempt;
    const { upload, inspection, token, lost } = input;
    const keys = await keysOf(upload, 'CreateMultipartUpload');
    const before = await holderAt(store, upload.destination, keys, signal);
    if (lost !== undefined && !sameHolder(lost.before, before, lost.completing)) {
      const message = `the multipart upload was lost, and the key now holds ${describeHolder(before)}`;
      const key = `s3://${upload.destination.bucket}/${upload.destination.key}`;
      throw new LongshoreError('OutcomeUnknown', message, { op: 'CreateMultipartUpload', key });
    }
    if (earlier !== undefined) return { s3UploadId: earlier, token, before };
    const { checksum, ifNoneMatch } = inspection.options;
    const attributes = attributesOf(inspection, tokenMetadata(token));
    const conditional = ifNoneMatch === undefined ? {} : { ifNoneMatch };
    // Not every server has checksums of parts that it copies itself, and says so only when the first of them is copied.
    const copied = inspection.plan.kind === 'parts' && inspection.plan.mode === 'copy';
    const summed = checksum && !(copied && lost !== undefined);
    const request = { ...upload.destination, ...attributes, ...conditional, checksum: summed };
    await attempt.confirm();
    // A cancel waits for the answer: without the id nobody could abort what it began.
    const keyed = withKey(store, keys.destination);
    const { s3UploadId } = await keyed.createMultipartUpload(request, attempt.fenceSignal);
    return { s3UploadId, token, before };
  });
}
