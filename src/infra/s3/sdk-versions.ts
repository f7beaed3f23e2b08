/** The versions of one object. */
import { ListObjectVersionsCommand } from '@aws-sdk/client-s3';
import type { ListObjectVersionsCommandOutput, ObjectVersion as Listed } from '@aws-sdk/client-s3';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import type { CallSite } from './s3-errors.js';
import { required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ObjectStore, ObjectVersion } from './store.js';

export function versionCalls({ client, run }: SdkContext): Pick<ObjectStore, 'listVersions'> {
  return {
    async listVersions({ bucket, key, after, max = LIST_PAGE_SIZE }, signal) {
      const site: CallSite = { op: 'ListObjectVersions', bucket, key };
      const command = new ListObjectVersionsCommand({
        Bucket: bucket,
        Prefix: key,
        MaxKeys: Math.min(max, LIST_PAGE_SIZE),
        ...(after === undefined ? {} : { KeyMarker: key, VersionIdMarker: after }),
      });
      const page = await run<ListObjectVersionsCommandOutput>(site, signal, () =>
        client.send(command, { abortSignal: signal }),
      );
      const deleted = (page.DeleteMarkers ?? []).filter(({ Key }) => Key === key);
      const versions = [
        ...(page.Versions ?? []).filter(({ Key }) => Key === key).map((each) => versionOf(site, each)),
        ...deleted.map((each) => ({ ...versionOf(site, { ...each, ETag: '-', Size: 0 }), deleted: true })),
      ].sort((a, b) => Number(b.latest) - Number(a.latest) || b.lastModified.localeCompare(a.lastModified));
      // What begins with the key, and is longer, comes after all versions of it.
      const more = page.IsTruncated === true && page.NextKeyMarker === key;
      const next = more ? page.NextVersionIdMarker : undefined;
      return { versions, ...(next === undefined ? {} : { next }) };
    },
  };
}

function versionOf(site: CallSite, listed: Listed): ObjectVersion {
  return {
    versionId: required(site, 'VersionId', listed.VersionId),
    etag: required(site, 'ETag', listed.ETag),
    size: listed.Size ?? 0,
    lastModified: (listed.LastModified ?? new Date(0)).toISOString(),
    latest: listed.IsLatest === true,
    deleted: false,
  };
}
