/** The calls that only look. */
import { Readable, addAbortSignal } from 'node:stream';
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListPartsCommand,
} from '@aws-sdk/client-s3';
import type { HeadObjectCommandOutput, ListPartsCommandOutput } from '@aws-sdk/client-s3';
import { LongshoreError } from '../../core/errors.js';
import { LIST_PAGE_SIZE } from '../../core/limits.js';
import { encryptionAnswer, encryptionOf } from './attributes.js';
import { keyFields } from './customer-keys.js';
import { s3Name, sdkError } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import { hasCode, required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { ListedPart, ObjectHead, ObjectStore } from './store.js';

type ReadCalls = Pick<ObjectStore, 'headObject' | 'getTags' | 'getObject' | 'listParts'>;

export function readCalls(context: SdkContext): ReadCalls {
  return {
    headObject: headCall(context),
    getTags: tagsCall(context),
    getObject: getCall(context),
    listParts: listPartsCall(context),
  };
}

function headCall({ client, run }: SdkContext): ObjectStore['headObject'] {
  return async (ref, signal) => {
    const { bucket, key, versionId } = ref;
    const site: CallSite = { op: 'HeadObject', bucket, key };
    const command = new HeadObjectCommand({
      Bucket: bucket,
      Key: key,
      VersionId: versionId,
      ChecksumMode: 'ENABLED',
      ...keyFields(ref),
    });
    try {
      return headOf(site, await run(site, signal, () => client.send(command, { abortSignal: signal })));
    } catch (error) {
      if (hasCode(error, 'SourceNotFound')) return undefined;
      // A HEAD has no body to say why; of an object that can be named at all, a key too many or too few is all that is bad.
      throw hasCode(error, 'InvalidRequest') ? wrongKey(site, error) : error;
    }
  };
}

function wrongKey(site: CallSite, cause: unknown): LongshoreError {
  const message = `${site.op} ${s3Name(site)}: the object's encryption is not the one that the request was for`;
  return new LongshoreError('WrongCustomerKey', message, { op: site.op, key: s3Name(site), cause });
}

function tagsCall({ client, run }: SdkContext): ObjectStore['getTags'] {
  return async ({ bucket, key, versionId }, signal) => {
    const site: CallSite = { op: 'GetObjectTagging', bucket, key };
    const command = new GetObjectTaggingCommand({ Bucket: bucket, Key: key, VersionId: versionId });
    try {
      const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
      return Object.fromEntries((answer.TagSet ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));
    } catch (error) {
      if (hasCode(error, 'NotSupported')) return {};
      throw error;
    }
  };
}

function headOf(site: CallSite, answer: HeadObjectCommandOutput): ObjectHead {
  const encryption = encryptionOf(encryptionAnswer(answer));
  // `-n` at its end: a checksum of checksums, which says nothing of the object as a whole.
  const composite = answer.ChecksumType === 'COMPOSITE' || answer.ChecksumCRC32?.includes('-') === true;
  return {
    size: required(site, 'Content-Length', answer.ContentLength),
    etag: required(site, 'ETag', answer.ETag),
    lastModified: (answer.LastModified ?? new Date(0)).toISOString(),
    metadata: answer.Metadata ?? {},
    ...(answer.VersionId === undefined ? {} : { versionId: answer.VersionId }),
    ...(answer.ChecksumCRC32 === undefined || composite ? {} : { crc32: answer.ChecksumCRC32 }),
    ...(answer.ContentType === undefined ? {} : { contentType: answer.ContentType }),
    ...(answer.CacheControl === undefined ? {} : { cacheControl: answer.CacheControl }),
    ...(encryption === undefined ? {} : { encryption }),
  };
}

function getCall({ client, run }: SdkContext): ObjectStore['getObject'] {
  return async (request, signal) => {
    const { bucket, key, versionId, ifMatch, offset = 0, length } = request;
    const site: CallSite = { op: 'GetObject', bucket, key };
    // HTTP has no way to ask for nothing.
    if (length === 0) return Readable.from([]);
    const last = length === undefined ? '' : offset + length - 1;
    const command = new GetObjectCommand({
      Bucket: bucket,
      Key: key,
      VersionId: versionId,
      IfMatch: ifMatch,
      ...keyFields(request),
      ...(offset === 0 && length === undefined ? {} : { Range: `bytes=${offset}-${last}` }),
    });
    try {
      const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
      return mapped(site, required(site, 'body', answer.Body) as Readable, signal);
    } catch (error) {
      const gone =
        hasCode(error, 'PreconditionFailed') || (ifMatch !== undefined && hasCode(error, 'SourceNotFound'));
      throw gone ? sourceChanged(site, error) : error;
    }
  };
}

/** The stream again, its failures in our terms, ended by the signal. */
function mapped(site: CallSite, body: Readable, signal: AbortSignal): Readable {
  addAbortSignal(signal, body);
  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of body) yield chunk as Buffer;
    } catch (error) {
      throw sdkError(site, error, signal);
    }
  }
  return Readable.from(chunks(), { objectMode: false, highWaterMark: 1024 * 1024 });
}

export function sourceChanged(site: CallSite, cause: unknown): LongshoreError {
  const message = `${site.op} ${s3Name(site)}: the source is no longer the object that was looked at first`;
  return new LongshoreError('SourceChanged', message, { op: site.op, key: s3Name(site), cause });
}

function listPartsCall({ client, run }: SdkContext): ObjectStore['listParts'] {
  return async (request, signal) => {
    const { bucket, key, s3UploadId, after = 0, max = Infinity } = request;
    const site: CallSite = { op: 'ListParts', bucket, key };
    const parts: ListedPart[] = [];
    for (let marker = String(after); parts.length < max;) {
      const command = new ListPartsCommand({
        Bucket: bucket,
        Key: key,
        UploadId: s3UploadId,
        ...keyFields(request),
        PartNumberMarker: marker,
        MaxParts: Math.min(LIST_PAGE_SIZE, max - parts.length),
      });
      const page = await run<ListPartsCommandOutput>(site, signal, () =>
        client.send(command, { abortSignal: signal }),
      );
      for (const part of page.Parts ?? []) parts.push(listedPart(site, part));
      const next = parts.at(-1)?.partNumber;
      if (page.IsTruncated !== true || next === undefined || String(next) === marker) break;
      marker = String(next);
    }
    return parts;
  };
}

function listedPart(site: CallSite, part: NonNullable<ListPartsCommandOutput['Parts']>[number]): ListedPart {
  return {
    partNumber: required(site, 'PartNumber', part.PartNumber),
    size: required(site, 'Size', part.Size),
    etag: required(site, 'ETag', part.ETag),
    ...(part.ChecksumCRC32 === undefined ? {} : { crc32: part.ChecksumCRC32 }),
  };
}
