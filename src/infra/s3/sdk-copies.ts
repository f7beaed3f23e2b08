/** The calls by which a server copies from itself. */
import { CopyObjectCommand, HeadObjectCommand, UploadPartCopyCommand } from '@aws-sdk/client-s3';
import { attributeFields, demandEncryption, encryptionAnswer, isSilent } from './attributes.js';
import type { EncryptionAnswer } from './attributes.js';
import { encodeComponent, encodeKey } from './addressing.js';
import { keyFields, sourceKeyFields } from './customer-keys.js';
import { LongshoreError } from '../../core/errors.js';
import { s3Name } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import { sourceChanged } from './sdk-reads.js';
import { hasCode, required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import type { CopySource, ObjectRef, ObjectStore } from './store.js';

export function copyCalls(context: SdkContext): Pick<ObjectStore, 'copyObject' | 'uploadPartCopy'> {
  return { copyObject: copyObjectCall(context), uploadPartCopy: copyPartCall(context) };
}

function copyObjectCall(context: SdkContext): ObjectStore['copyObject'] {
  const { client, run } = context;
  return async (request, signal) => {
    const { bucket, key, source, ifNoneMatch, ifMatch } = request;
    const site: CallSite = { op: 'CopyObject', bucket, key };
    const fields = attributeFields(site, request);
    const replaced =
      fields.Metadata !== undefined || fields.ContentType !== undefined || fields.CacheControl !== undefined;
    const command = new CopyObjectCommand({
      Bucket: bucket,
      Key: key,
      ...fields,
      ...keyFields(request),
      ...sourceFields(source),
      ...(replaced ? { MetadataDirective: 'REPLACE' } : {}),
      ...(fields.Tagging === undefined ? {} : { TaggingDirective: 'REPLACE' }),
      IfNoneMatch: ifNoneMatch,
      IfMatch: ifMatch,
    });
    try {
      const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
      const said = encryptionAnswer(answer);
      const silent = request.encryption !== undefined && isSilent(said);
      demandEncryption(site, request.encryption, silent ? await askByHead(context, request, signal) : said);
      return {
        etag: required(site, 'ETag', answer.CopyObjectResult?.ETag),
        ...(answer.VersionId === undefined ? {} : { versionId: answer.VersionId }),
        checksumAccepted: false,
      };
    } catch (error) {
      if (hasCode(error, 'SourceNotFound')) throw sourceChanged(site, error);
      if (!hasCode(error, 'PreconditionFailed')) throw error;
      // Two conditions, one answer: only the source can tell which of them failed.
      const intact = ifNoneMatch !== undefined && (await isIntact(context, source, signal));
      throw intact ? error : sourceChanged(site, error);
    }
  };
}

/** MinIO's answers to copies do not tell how it encrypts. */
async function askByHead(
  { client, run }: SdkContext,
  ref: ObjectRef,
  signal: AbortSignal,
): Promise<EncryptionAnswer> {
  const { bucket, key } = ref;
  const command = new HeadObjectCommand({ Bucket: bucket, Key: key, ...keyFields(ref) });
  const site: CallSite = { op: 'HeadObject', bucket, key };
  return encryptionAnswer(await run(site, signal, () => client.send(command, { abortSignal: signal })));
}

function copyPartCall({ client, run }: SdkContext): ObjectStore['uploadPartCopy'] {
  return async (request, signal) => {
    const { bucket, key, s3UploadId, partNumber, source, offset, length } = request;
    const site: CallSite = { op: 'UploadPartCopy', bucket, key };
    const command = new UploadPartCopyCommand({
      Bucket: bucket,
      Key: key,
      UploadId: s3UploadId,
      PartNumber: partNumber,
      ...keyFields(request),
      ...sourceFields(source),
      CopySourceRange: `bytes=${offset}-${offset + length - 1}`,
    });
    try {
      const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
      const etag = required(site, 'ETag', answer.CopyPartResult?.ETag);
      const crc32 = answer.CopyPartResult?.ChecksumCRC32;
      return crc32 === undefined ? { etag } : { etag, crc32 };
    } catch (error) {
      if (wantsChecksums(error)) throw withoutChecksums(site, error);
      const changed = hasCode(error, 'PreconditionFailed') || hasCode(error, 'SourceNotFound');
      throw changed ? sourceChanged(site, error) : error;
    }
  };
}

/** MinIO computes no checksum of the parts that it copies, and refuses them where the upload began with one. */
function wantsChecksums(error: unknown): boolean {
  return hasCode(error, 'InvalidRequest') && /checksum missing/i.test((error as Error).message);
}

function withoutChecksums(site: CallSite, cause: unknown): LongshoreError {
  const message = `${site.op} ${s3Name(site)}: the server copies no parts into an upload that began with checksums`;
  return new LongshoreError('UploadConflict', message, { op: site.op, key: s3Name(site), cause });
}

function sourceFields(source: CopySource) {
  const version = source.versionId === undefined ? '' : `?versionId=${encodeComponent(source.versionId)}`;
  return {
    CopySource: `${source.bucket}/${encodeKey(source.key)}${version}`,
    CopySourceIfMatch: source.ifMatch,
    ...sourceKeyFields(source),
  };
}

async function isIntact(
  { client, run }: SdkContext,
  source: CopySource,
  signal: AbortSignal,
): Promise<boolean> {
  const { bucket, key, versionId, ifMatch } = source;
  const command = new HeadObjectCommand({
    Bucket: bucket,
    Key: key,
    VersionId: versionId,
    ...keyFields(source),
  });
  const site: CallSite = { op: 'HeadObject', bucket, key };
  try {
    const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
    return answer.ETag === ifMatch;
  } catch (error) {
    if (hasCode(error, 'SourceNotFound')) return false;
    throw error;
  }
}
