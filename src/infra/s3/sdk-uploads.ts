/** The lists of unfinished multipart uploads. */
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import type { ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import type { UploadMarker } from '../../core/maintenance.js';
import type { CallSite } from './s3-errors.js';
import { hasCode, required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ObjectStore } from './store.js';

type ListCalls = Pick<ObjectStore, 'listUploadsPage' | 'listMultipartUploads'>;
type Page = Awaited<ReturnType<ObjectStore['listUploadsPage']>>;

export function uploadListCalls(context: SdkContext): ListCalls {
  const listUploadsPage: ObjectStore['listUploadsPage'] = async (request, signal) => {
    const site: CallSite = { op: 'ListMultipartUploads', bucket: request.bucket, key: request.prefix };
    return pageOf(site, await ask(context, site, request, signal));
  };
  return {
    listUploadsPage,
    async listMultipartUploads({ bucket, prefix }, signal) {
      const all: Page['uploads'] = [];
      for (let after: UploadMarker | undefined, more = true; more;) {
        const where = after === undefined ? { bucket, prefix } : { bucket, prefix, after };
        const { uploads, next } = await listUploadsPage(where, signal);
        all.push(...uploads);
        after = next;
        more = next !== undefined;
      }
      return all;
    },
  };
}

async function ask(
  { client, run }: SdkContext,
  site: CallSite,
  { bucket, prefix, after }: Parameters<ObjectStore['listUploadsPage']>[0],
  signal: AbortSignal,
): Promise<ListMultipartUploadsCommandOutput> {
  const call = (UploadIdMarker: string | undefined) => {
    const where = { Bucket: bucket, Prefix: prefix, KeyMarker: after?.key, UploadIdMarker };
    const command = new ListMultipartUploadsCommand({ ...where, MaxUploads: LIST_PAGE_SIZE });
    return run<ListMultipartUploadsCommandOutput>(site, signal, () =>
      client.send(command, { abortSignal: signal }),
    );
  };
  try {
    return await call(after?.s3UploadId);
  } catch (error) {
    // versitygw refuses the marker that it gave, for it has left that key behind.
    if (after?.s3UploadId === undefined || !hasCode(error, 'InvalidRequest')) throw error;
    return await call(undefined);
  }
}

/**
 * A page ends before a key of which there may be more, so that the next one can begin with whole keys: a place between two
 * uploads of one key is asked for only where one key fills a page.
 */
function pageOf(site: CallSite, answer: ListMultipartUploadsCommandOutput): Page {
  const uploads = (answer.Uploads ?? []).map((upload) => ({
    key: required(site, 'Key', upload.Key),
    s3UploadId: required(site, 'UploadId', upload.UploadId),
    // Nothing is known to be old that does not say so.
    initiated: (upload.Initiated ?? new Date()).toISOString(),
  }));
  const last = uploads.at(-1);
  if (answer.IsTruncated !== true || last === undefined) return { uploads };
  const whole = uploads.filter(({ key }) => key !== last.key);
  const before = whole.at(-1);
  if (before !== undefined) return { uploads: whole, next: { key: before.key } };
  return { uploads, next: { key: last.key, s3UploadId: last.s3UploadId } };
}
