/** The versions of one object. */
import { ListObjectVersionsCommand } from '@aws-sdk/client-s3';
import type { ListObjectVersionsCommandOutput, ObjectVersion as Listed } from '@aws-sdk/client-s3';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import type { CallSite } from './s3-errors.js';
import { required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ObjectStore, ObjectVersion } from './store.js';

type Page = ListObjectVersionsCommandOutput;

/**
 * Pages are cut here, from whole pages of the server that are read from the first: MinIO's markers are no keys, and
 * versitygw answers the newest version again and again to who asks for what follows it.
 */
export function versionCalls(context: SdkContext): Pick<ObjectStore, 'listVersions'> {
  return {
    async listVersions({ bucket, key, after, max = LIST_PAGE_SIZE }, signal) {
      const site: CallSite = { op: 'ListObjectVersions', bucket, key };
      const versions: ObjectVersion[] = [];
      let begun = after === undefined;
      for await (const version of everyVersion(context, site, key, signal)) {
        if (begun) versions.push(version);
        if (version.versionId === after) begun = true;
        if (versions.length > max) break;
      }
      const page = versions.slice(0, max);
      const next = versions.length > max ? page.at(-1)?.versionId : undefined;
      return { versions: page, ...(next === undefined ? {} : { next }) };
    },
  };
}

async function* everyVersion(
  { client, run }: SdkContext,
  site: CallSite,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<ObjectVersion> {
  const seen = new Set<string>();
  for (let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {}; marker !== undefined;) {
    const command: ListObjectVersionsCommand = new ListObjectVersionsCommand({
      Bucket: site.bucket,
      Prefix: key,
      MaxKeys: LIST_PAGE_SIZE,
      ...marker,
    });
    const page: Page = await run<Page>(site, signal, () => client.send(command, { abortSignal: signal }));
    const fresh = versionsOf(site, key, page).filter(({ versionId }) => !seen.has(versionId));
    for (const version of fresh) {
      seen.add(version.versionId);
      yield version;
    }
    marker = fresh.length === 0 ? undefined : markerOf(key, page);
  }
}

function versionsOf(site: CallSite, key: string, page: Page): ObjectVersion[] {
  const there = (page.Versions ?? []).filter(({ Key }) => Key === key).map((each) => versionOf(site, each));
  const deleted = (page.DeleteMarkers ?? [])
    .filter(({ Key }) => Key === key)
    .map((each) => ({ ...versionOf(site, { ...each, ETag: '-', Size: 0 }), deleted: true }));
  return [...there, ...deleted].sort(
    (a, b) => Number(b.latest) - Number(a.latest) || b.lastModified.localeCompare(a.lastModified),
  );
}

/** What begins with the key, and is longer, comes after all versions of it. */
function markerOf(
  key: string,
  { IsTruncated, NextKeyMarker: KeyMarker, NextVersionIdMarker, Versions, DeleteMarkers }: Page,
): { KeyMarker: string; VersionIdMarker?: string } | undefined {
  const beyond = [...(Versions ?? []), ...(DeleteMarkers ?? [])].some(({ Key }) => Key !== key);
  if (IsTruncated !== true || !KeyMarker || beyond) return undefined;
  return { KeyMarker, ...(NextVersionIdMarker ? { VersionIdMarker: NextVersionIdMarker } : {}) };
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
