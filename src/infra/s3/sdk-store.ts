/** ObjectStore on client-s3: every call of the contract, and the reference that the lean path is held against. */
import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  HeadBucketCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { BucketLocationConstraint, CompleteMultipartUploadCommandOutput } from '@aws-sdk/client-s3';
import { attributeFields, demandEncryption, encryptionAnswer, isSilent } from './attributes.js';
import type { EncryptionAnswer } from './attributes.js';
import { createBufferPool } from '../buffers.js';
import { createCredentialSource } from './credentials.js';
import type { CredentialSource } from './credentials.js';
import { keyFields } from './customer-keys.js';
import { buffering, ONCE_BUDGET } from './once-store.js';
import { isOnce } from './once.js';
import { explainingResets } from './resets.js';
import type { CallSite } from './s3-errors.js';
import { calling, createSdkClient, hasCode, required } from './sdk-client.js';
import type { SdkContext } from './sdk-client.js';
import { copyCalls } from './sdk-copies.js';
import { manyCalls } from './sdk-many.js';
import { readCalls } from './sdk-reads.js';
import { uploadListCalls } from './sdk-uploads.js';
import { versionCalls } from './sdk-versions.js';
import type { Body, CompleteRequest, ObjectStore, StoreConfig, UploadRef } from './store.js';

/** `credentials` is given when they are shared with the lean path. */
export function createSdkStore(
  config: StoreConfig,
  credentials: CredentialSource = createCredentialSource(config),
): ObjectStore {
  const client = createSdkClient(config, credentials);
  const context: SdkContext = {
    client,
    run: (site, signal, call) => calling(site, signal, credentials, call),
  };
  const writes = writeCalls(context);
  const store = explainingResets({
    ...readCalls(context),
    ...uploadListCalls(context),
    ...versionCalls(context),
    ...copyCalls(context),
    ...writes,
    ...manyCalls(context, (ref, signal) => writes.deleteObject(ref, signal)),
    ...multipartCalls(context),
    ...bucketCalls(context, config.region),
    close: () => client.destroy(),
  });
  return buffering(store, createBufferPool(ONCE_BUDGET));
}

function writeCalls({ client, run }: SdkContext): Pick<ObjectStore, 'putObject' | 'deleteObject'> {
  return {
    async putObject(request, signal) {
      const { bucket, key, body, crc32, ifNoneMatch } = request;
      const site: CallSite = { op: 'PutObject', bucket, key };
      const fields = attributeFields(site, request);
      const answer = await run(site, signal, () => {
        const command = new PutObjectCommand({
          Bucket: bucket,
          Key: key,
          ...bodyFields(body),
          ...fields,
          ...keyFields(request),
          ChecksumCRC32: crc32,
          IfNoneMatch: ifNoneMatch,
        });
        return client.send(command, { abortSignal: signal });
      });
      demandEncryption(site, request.encryption, encryptionAnswer(answer));
      return {
        etag: required(site, 'ETag', answer.ETag),
        ...(answer.VersionId === undefined ? {} : { versionId: answer.VersionId }),
        checksumAccepted: crc32 !== undefined && answer.ChecksumCRC32 === crc32,
      };
    },
    async deleteObject({ bucket, key, versionId }, signal) {
      const command = new DeleteObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId });
      const site: CallSite = { op: 'DeleteObject', bucket, key };
      await run(site, signal, () => client.send(command, { abortSignal: signal })).catch((error: unknown) => {
        if (!hasCode(error, 'SourceNotFound')) throw error;
      });
    },
  };
}

type MultipartCalls = Pick<
  ObjectStore,
  'createMultipartUpload' | 'uploadPart' | 'completeMultipartUpload' | 'abortMultipartUpload'
>;

function multipartCalls(context: SdkContext): MultipartCalls {
  const { client, run } = context;
  const abort = abortCall(context);
  return {
    abortMultipartUpload: abort,
    createMultipartUpload: createCall(context, abort),
    async uploadPart(request, signal) {
      const { bucket, key, s3UploadId, partNumber, body, crc32 } = request;
      const site: CallSite = { op: 'UploadPart', bucket, key };
      const answer = await run(site, signal, () => {
        const command = new UploadPartCommand({
          Bucket: bucket,
          Key: key,
          UploadId: s3UploadId,
          PartNumber: partNumber,
          ...bodyFields(body),
          ...keyFields(request),
          ChecksumCRC32: crc32,
        });
        return client.send(command, { abortSignal: signal });
      });
      const etag = required(site, 'ETag', answer.ETag);
      return answer.ChecksumCRC32 === undefined ? { etag } : { etag, crc32: answer.ChecksumCRC32 };
    },
    async completeMultipartUpload(request, signal) {
      const site: CallSite = { op: 'CompleteMultipartUpload', bucket: request.bucket, key: request.key };
      const command = completeCommand(request);
      const answer = await run<CompleteMultipartUploadCommandOutput>(site, signal, () =>
        client.send(command, { abortSignal: signal }),
      );
      return {
        etag: required(site, 'ETag', answer.ETag),
        ...(answer.VersionId === undefined ? {} : { versionId: answer.VersionId }),
        ...(answer.ChecksumCRC32 === undefined || answer.ChecksumCRC32.includes('-')
          ? {}
          : { crc32: answer.ChecksumCRC32 }),
      };
    },
  };
}

function createCall(
  context: SdkContext,
  abort: ObjectStore['abortMultipartUpload'],
): ObjectStore['createMultipartUpload'] {
  const { client, run } = context;
  return async (request, signal) => {
    const { bucket, key, checksum, encryption } = request;
    const site: CallSite = { op: 'CreateMultipartUpload', bucket, key };
    const command = new CreateMultipartUploadCommand({
      Bucket: bucket,
      Key: key,
      ...attributeFields(site, request),
      ...keyFields(request),
      ...(checksum ? { ChecksumAlgorithm: 'CRC32', ChecksumType: 'FULL_OBJECT' } : {}),
    });
    const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
    const s3UploadId = required(site, 'UploadId', answer.UploadId);
    const { customerKey } = request;
    const upload = { bucket, key, s3UploadId, ...(customerKey === undefined ? {} : { customerKey }) };
    if (encryption !== undefined) {
      try {
        const said = encryptionAnswer(answer);
        demandEncryption(
          site,
          encryption,
          isSilent(said) ? await askByPart(context, { ...upload, checksum }, signal) : said,
        );
      } catch (error) {
        // The caller may have given up already; what was begun is ended all the same, and the first error is told.
        await abort(upload, AbortSignal.timeout(ABORT_TIMEOUT_MS)).catch((left: unknown) => {
          if (error instanceof Error) error.message += ` (and ${s3UploadId} is left: ${String(left)})`;
        });
        throw error;
      }
    }
    return { s3UploadId };
  };
}

/** To end what an answer showed to be wrong. */
const ABORT_TIMEOUT_MS = 10_000;

/**
 * MinIO encrypts, but says so only in its answers to parts. An empty first part asks it before any byte of the object
 * goes; the real one replaces it.
 */
async function askByPart(
  { client, run }: SdkContext,
  upload: UploadRef & { checksum: boolean },
  signal: AbortSignal,
): Promise<EncryptionAnswer> {
  const { bucket, key, s3UploadId, checksum } = upload;
  const command = new UploadPartCommand({
    Bucket: bucket,
    Key: key,
    UploadId: s3UploadId,
    PartNumber: 1,
    Body: Buffer.alloc(0),
    ContentLength: 0,
    ...keyFields(upload),
    ...(checksum ? { ChecksumCRC32: 'AAAAAA==' } : {}),
  });
  const site: CallSite = { op: 'UploadPart', bucket, key };
  const answer = await run(site, signal, () => client.send(command, { abortSignal: signal }));
  return encryptionAnswer(answer);
}

function abortCall({ client, run }: SdkContext): ObjectStore['abortMultipartUpload'] {
  return async ({ bucket, key, s3UploadId }, signal) => {
    const site: CallSite = { op: 'AbortMultipartUpload', bucket, key };
    const command = new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: s3UploadId });
    await run(site, signal, () => client.send(command, { abortSignal: signal })).catch((error: unknown) => {
      if (!hasCode(error, 'NoSuchUpload')) throw error;
    });
  };
}

function completeCommand(request: CompleteRequest): CompleteMultipartUploadCommand {
  const { bucket, key, s3UploadId, parts, crc32, ifNoneMatch, ifMatch, size } = request;
  return new CompleteMultipartUploadCommand({
    Bucket: bucket,
    Key: key,
    UploadId: s3UploadId,
    MultipartUpload: {
      Parts: parts.map((part) => ({
        PartNumber: part.partNumber,
        ETag: part.etag,
        ChecksumCRC32: part.crc32,
      })),
    },
    ...(crc32 === undefined ? {} : { ChecksumCRC32: crc32, ChecksumType: 'FULL_OBJECT' }),
    ...keyFields(request),
    IfNoneMatch: ifNoneMatch,
    IfMatch: ifMatch,
    MpuObjectSize: size,
  });
}

function bucketCalls(
  { client, run }: SdkContext,
  region: string,
): Pick<ObjectStore, 'headBucket' | 'createBucket'> {
  return {
    async headBucket(bucket, signal) {
      const command = new HeadBucketCommand({ Bucket: bucket });
      try {
        await run({ op: 'HeadBucket', bucket }, signal, () => client.send(command, { abortSignal: signal }));
        return true;
      } catch (error) {
        // A HEAD carries no code, so a missing bucket looks like any other 404.
        if (hasCode(error, 'NoSuchBucket') || hasCode(error, 'SourceNotFound')) return false;
        throw error;
      }
    },
    async createBucket(bucket, signal) {
      const LocationConstraint = region as BucketLocationConstraint;
      const command = new CreateBucketCommand({
        Bucket: bucket,
        ...(region === 'us-east-1' ? {} : { CreateBucketConfiguration: { LocationConstraint } }),
      });
      const call = () =>
        client.send(command, { abortSignal: signal }).catch((error: unknown) => {
          if (!(error instanceof Error) || error.name !== 'BucketAlreadyOwnedByYou') throw error;
        });
      await run({ op: 'CreateBucket', bucket }, signal, call);
    },
  };
}

function bodyFields(body: Body): { Body: Buffer | Readable; ContentLength: number } {
  const stream = Buffer.isBuffer(body) ? body : isOnce(body) ? body.once : body.open();
  return { Body: stream, ContentLength: body.length };
}
