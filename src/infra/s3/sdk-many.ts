/** The calls that are about many objects at once. */
import { DeleteObjectsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { LongshoreError } from '../../core/errors.js';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import { answerError } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import { required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ListedObject, ObjectStore } from './store.js';

type Refused = Awaited<ReturnType<ObjectStore['deleteObjects']>>;

/** `deleteOne` is for keys that the list of the request cannot carry. */
export function manyCalls(
  context: SdkContext,
  deleteOne: ObjectStore['deleteObject'],
): Pick<ObjectStore, 'listObjects' | 'deleteObjects'> {
  return { listObjects: listCall(context), deleteObjects: deleteCall(context, deleteOne) };
}

function listCall({ client, run }: SdkContext): ObjectStore['listObjects'] {
  return async ({ bucket, prefix, next, max = LIST_PAGE_SIZE }, signal) => {
    const site: CallSite = { op: 'ListObjectsV2', bucket, key: prefix };
    const command = new ListObjectsV2Command({
      Bucket: bucket,
      Prefix: prefix,
      MaxKeys: max,
      ContinuationToken: next,
      // XML cannot carry every character that a key may have.
      EncodingType: 'url',
    });
    const page: ListObjectsV2CommandOutput = await run(site, signal, () =>
      client.send(command, { abortSignal: signal }),
    );
    const decode = page.EncodingType === 'url' ? decodeKey : (key: string): string => key;
    const objects = (page.Contents ?? []).map(({ Key, Size, ETag }): ListedObject => ({
      key: decode(required(site, 'Key', Key)),
      size: required(site, 'Size', Size),
      etag: required(site, 'ETag', ETag),
    }));
    const following = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    return following === undefined || following === next ? { objects } : { objects, next: following };
  };
}

/** As forms are encoded: a blank may come as `+`. */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll('+', '%20'));
}

/** What XML 1.0 has no way to write, and line ends, which parsers change. */

const UNWRITABLE = /[\x00-\x1f\x7f-\x9f\ufffe\uffff]/;

function deleteCall(
  { client, run }: SdkContext,
  deleteOne: ObjectStore['deleteObject'],
): ObjectStore['deleteObjects'] {
  return async ({ bucket, keys }, signal) => {
    const refused: Refused = [];
    const listed = keys.filter((key) => !UNWRITABLE.test(key));
    if (listed.length > 0) {
      const command = new DeleteObjectsCommand({
        Bucket: bucket,
        Delete: { Objects: listed.map((Key) => ({ Key })), Quiet: true },
      });
      const answer = await run({ op: 'DeleteObjects', bucket }, signal, () =>
        client.send(command, { abortSignal: signal }),
      );
      for (const { Key = '', Code, Message } of answer.Errors ?? []) {
        if (Code === 'NoSuchKey') continue;
        const site = { op: 'DeleteObjects', bucket, key: Key };
        refused.push({ key: Key, error: answerError(site, { status: 200, code: Code, message: Message }) });
      }
    }
    for (const key of keys.filter((each) => UNWRITABLE.test(each))) {
      await deleteOne({ bucket, key }, signal).catch((error: unknown) => {
        if (signal.aborted || !(error instanceof LongshoreError)) throw error;
        refused.push({ key, error });
      });
    }
    return refused;
  };
}
