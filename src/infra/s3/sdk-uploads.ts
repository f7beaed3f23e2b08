/** The list of a bucket's unfinished multipart uploads, a page at a time. */
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import type { ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import type { CallSite } from './s3-errors.js';
import { required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ObjectStore } from './store.js';

export function uploadListCalls({ client, run }: SdkContext): Pick<ObjectStore, 'listUploadsPage'> {
  return {
    async listUploadsPage({ bucket, prefix, after }, signal) {
      const site: CallSite = { op: 'ListMultipartUploads', bucket, key: prefix };
      const command = new ListMultipartUploadsCommand({
        Bucket: bucket,
        MaxUploads: LIST_PAGE_SIZE,
        Prefix: prefix,
        KeyMarker: after?.key,
        UploadIdMarker: after?.s3UploadId,
      });
      const page = await run<ListMultipartUploadsCommandOutput>(site, signal, () =>
        client.send(command, { abortSignal: signal }),
      );
      const uploads = (page.Uploads ?? []).map((upload) => ({
        key: required(site, 'Key', upload.Key),
        s3UploadId: required(site, 'UploadId', upload.UploadId),
        initiated: (upload.Initiated ?? new Date()).toISOString(),
      }));
      const { IsTruncated, NextKeyMarker: key, NextUploadIdMarker: s3UploadId } = page;
      // A page that leads nowhere would be read for ever.
      const stuck = key === after?.key && s3UploadId === after?.s3UploadId;
      if (IsTruncated !== true || !key || stuck) return { uploads };
      return { uploads, next: { key, ...(s3UploadId ? { s3UploadId } : {}) } };
    },
  };
}
