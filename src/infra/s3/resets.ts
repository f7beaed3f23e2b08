/**
 * A server that refuses a request before it has read the body may close the connection, and the reset overtakes its
 * answer. Asked without a body it gets to say why.
 */
import { LongshoreError } from '../../core/errors.js';
import type { ErrorCode } from '../../core/errors.js';
import type { ObjectStore } from './store.js';

/** What a call of another kind tells about this one. A denial is not among them: it may be the other call's own. */
const TELLING = new Set<ErrorCode>([
  'BadCredentials',
  'ExpiredCredentials',
  'NoSuchBucket',
  'NoSuchUpload',
  'PreconditionFailed',
]);

/** The store with a second question after each reset of a call that carries bytes. */
export function explainingResets(store: ObjectStore): ObjectStore {
  return {
    ...store,
    putObject: (request, signal) =>
      explained(store.putObject(request, signal), async () => {
        const { bucket, key, customerKey, ifNoneMatch } = request;
        const ref = { bucket, key, ...(customerKey === undefined ? {} : { customerKey }) };
        await store.listMultipartUploads({ bucket, prefix: key }, signal);
        if (ifNoneMatch === undefined || (await store.headObject(ref, signal)) === undefined) return;
        // It may be our own, of a request whose answer was lost: whose it is, its token tells.
        throw new LongshoreError('PreconditionFailed', 'an object is at the key already', {
          op: 'PutObject',
          key,
        });
      }),
    uploadPart: (request, signal) =>
      explained(store.uploadPart(request, signal), () => {
        const { bucket, key, s3UploadId, customerKey } = request;
        const ref = { bucket, key, s3UploadId, ...(customerKey === undefined ? {} : { customerKey }) };
        return store.listParts({ ...ref, max: 1 }, signal);
      }),
  };
}

async function explained<T>(call: Promise<T>, ask: () => Promise<unknown>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (!isReset(error)) throw error;
    const said: unknown = await ask().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    throw said instanceof LongshoreError && TELLING.has(said.code) ? said : error;
  }
}

function isReset(error: unknown): boolean {
  if (!(error instanceof LongshoreError) || error.code !== 'S3Unavailable') return false;
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'EPIPE' || code === 'ECONNRESET' || code === 'UND_ERR_SOCKET';
}
