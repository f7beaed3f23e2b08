/**
 * What Longshore asks of an S3 server. Two implementations stand behind it under one contract suite: `sdk-store` on
 * client-s3, and `lean-store`, which carries PutObject and UploadPart over undici and leaves the rest to the first.
 *
 * All methods take an AbortSignal, throw LongshoreError (never an SDK error), and may be called again after any
 * failure; what a repetition does is said at each.
 */
import type { Readable } from 'node:stream';
import type { LongshoreError } from '../../core/errors.js';
import type { UploadMarker } from '../../core/maintenance.js';
import type { Destination, Encryption } from '../../core/uploads.js';
import type { KeyHolder, TruthToken } from '../../core/upload-steps.js';
import type { CustomerKey } from '../keys/customer-key.js';

export interface ObjectRef extends Destination {
  versionId?: string;
  /** Of an object encrypted by SSE-C: every call on it needs the key. Goes over TLS or loopback only (InsecureTransport). */
  customerKey?: CustomerKey;
}

/** What an object carries besides its bytes. */
export interface ObjectAttributes {
  contentType?: string;
  cacheControl?: string;
  metadata?: Record<string, string>;
  tags?: Record<string, string>;
  storageClass?: string;
  encryption?: Encryption;
}

/**
 * A request body: a Buffer; for large parts a stream that can be made again, its length and CRC known first; or one that
 * comes only once.
 */
export type Body = Buffer | { length: number; open(): Readable } | OnceBody;

/**
 * A body that comes only once and is passed on as it comes: its CRC32 is computed on the way and follows the bytes. No call
 * with such a body is repeated. After a failure `once` is paused, and its rest the caller's business. Throws ChunkDamaged
 * when it has not `length` bytes.
 */
export interface OnceBody {
  length: number;
  once: Readable;
  /** Sees each piece before it goes. */
  watch?(piece: Buffer): void;
  /** Whoever brings it says that this is its CRC32, base64: where servers check it, it goes ahead, and none follows. */
  promised?: string;
  /** No checksum follows: the upload began without one, and a server may refuse parts that bring one. */
  plain?: boolean;
  /** All bytes are here, and the request has not ended: what this throws breaks it off, and the server keeps nothing. */
  settle?(crc32: string): void | Promise<void>;
}

export interface PutRequest extends ObjectRef, ObjectAttributes {
  body: Body;
  /** CRC32 of the body, base64. Sent and checked by the server when given. */
  crc32?: string;
  ifNoneMatch?: '*';
}

export interface PutAnswer {
  etag: string;
  versionId?: string;
  /** The server echoed our checksum: it looked at it. */
  checksumAccepted: boolean;
  /** CRC32 as the server names it, base64. */
  crc32?: string;
}

export interface PartAnswer {
  etag: string;
  /** base64, as the server names it. */
  crc32?: string;
}

export interface ListedPart extends PartAnswer {
  partNumber: number;
  size: number;
}

export interface UploadRef extends ObjectRef {
  s3UploadId: string;
}

export interface CompletedPart {
  partNumber: number;
  etag: string;
  crc32?: string;
}

export interface CompleteRequest extends UploadRef {
  parts: CompletedPart[];
  /** Full-object CRC32, base64: sent with ChecksumType=FULL_OBJECT. */
  crc32?: string;
  ifNoneMatch?: '*';
  /** ETag that the key must still have; PreconditionFailed otherwise, from servers that look at it. */
  ifMatch?: string;
  /** Bytes of the whole object. */
  size: number;
}

export interface ObjectHead {
  size: number;
  etag: string;
  lastModified: string;
  versionId?: string;
  /** Full-object CRC32, base64; absent when the server has none or only a composite. */
  crc32?: string;
  metadata: Record<string, string>;
  contentType?: string;
  cacheControl?: string;
  encryption?: AppliedEncryption;
}

/** What a server says of an object at rest. */
export type AppliedEncryption =
  { type: 'SSE_S3' } | { type: 'SSE_KMS'; kmsKeyId?: string } | { type: 'SSE_C'; keyMd5?: string };

export interface ListedObject {
  key: string;
  size: number;
  etag: string;
}

export interface ObjectVersion {
  /** `null`, as a text, where the bucket has no versions. */
  versionId: string;
  /** Of a deletion `-`. */
  etag: string;
  size: number;
  /** ISO 8601. */
  lastModified: string;
  latest: boolean;
  /** It says that the object was deleted. */
  deleted: boolean;
}

export interface ObjectPage {
  /** In the order of the server; with S3 that of the bytes of the keys. */
  objects: ListedObject[];
  /** Names the page that follows; absent on the last one. */
  next?: string;
}

export interface CopySource extends ObjectRef {
  /** ETag that the source must still have (CopySourceIfMatch). */
  ifMatch: string;
}

export interface ObjectStore {
  /**
   * undefined when nothing is at the key. Throws AccessDenied where the server does not say (403 without s3:ListBucket, and
   * on some servers a wrong key), WrongCustomerKey when the object has an encryption that the request does not fit.
   */
  headObject(ref: ObjectRef, signal: AbortSignal): Promise<ObjectHead | undefined>;
  /** Tags of an object; none where the server has no tags. */
  getTags(ref: ObjectRef, signal: AbortSignal): Promise<Record<string, string>>;
  /** Bytes [offset, offset+length) of an object whose ETag is still `ifMatch`; SourceChanged otherwise. */
  getObject(
    ref: ObjectRef & { ifMatch?: string; offset?: number; length?: number },
    signal: AbortSignal,
  ): Promise<Readable>;
  /** Repeating it overwrites the object by the same bytes. */
  putObject(request: PutRequest, signal: AbortSignal): Promise<PutAnswer>;
  /** Repeating it overwrites; SourceChanged when the source's ETag differs, or with `ifMatch` the ETag at the key. */
  copyObject(
    request: ObjectRef & ObjectAttributes & { source: CopySource; ifNoneMatch?: '*'; ifMatch?: string },
    signal: AbortSignal,
  ): Promise<PutAnswer>;
  /** Every call begins another multipart upload; a lost answer leaves an orphan for the sweep. Throws
   *  EncryptionNotApplied (after aborting it) when the answer does not confirm the encryption asked for. */
  createMultipartUpload(
    request: ObjectRef & ObjectAttributes & { checksum: boolean; ifNoneMatch?: '*' },
    signal: AbortSignal,
  ): Promise<{ s3UploadId: string }>;
  /** Repeating it replaces the part. */
  uploadPart(
    request: UploadRef & { partNumber: number; body: Body; crc32?: string },
    signal: AbortSignal,
  ): Promise<PartAnswer>;
  /**
   * Repeating it replaces the part; SourceChanged when the source's ETag differs, UploadConflict where the server copies
   * into uploads without checksums only.
   */
  uploadPartCopy(
    request: UploadRef & { partNumber: number; source: CopySource; offset: number; length: number },
    signal: AbortSignal,
  ): Promise<PartAnswer>;
  /** Every part after `after`, at most `max`, paged through. NoSuchUpload once the upload has ended. */
  listParts(
    request: UploadRef & { after?: number; max?: number },
    signal: AbortSignal,
  ): Promise<ListedPart[]>;
  /** Every multipart upload in progress under the prefix. */
  listMultipartUploads(
    request: { bucket: string; prefix: string },
    signal: AbortSignal,
  ): Promise<{ key: string; s3UploadId: string; initiated: string }[]>;
  /**
   * A page of at most 1,000 of them, `after` the last of the page before; `next` is absent on the last page. MinIO lists
   * a whole bucket from memory: what was begun before it was started shows only under its whole key.
   */
  listUploadsPage(
    request: { bucket: string; prefix?: string; after?: UploadMarker },
    signal: AbortSignal,
  ): Promise<{ uploads: { key: string; s3UploadId: string; initiated: string }[]; next?: UploadMarker }>;
  /** Versions of one object, newest first, at most 1,000 a page; `next` is the last version of the page before. */
  listVersions(
    request: { bucket: string; key: string; after?: string; max?: number },
    signal: AbortSignal,
  ): Promise<{ versions: ObjectVersion[]; next?: string }>;
  /** Throws S3Unavailable when a 200 carries no ETag. After success it answers the same, or NoSuchUpload: look for the token. */
  completeMultipartUpload(
    request: CompleteRequest,
    signal: AbortSignal,
  ): Promise<{ etag: string; versionId?: string; crc32?: string }>;
  /** Success also when the upload is gone already. */
  abortMultipartUpload(request: UploadRef, signal: AbortSignal): Promise<void>;
  headBucket(bucket: string, signal: AbortSignal): Promise<boolean>;
  /** Success also when it is ours already. */
  createBucket(bucket: string, signal: AbortSignal): Promise<void>;
  deleteObject(ref: ObjectRef, signal: AbortSignal): Promise<void>;
  /**
   * A page, at most 1,000 objects, of those whose keys begin with the prefix; `next` is that of the page before. There is
   * no way to begin after a key: MinIO ends such a list early when the key is in a folder.
   */
  listObjects(
    request: { bucket: string; prefix: string; next?: string; max?: number },
    signal: AbortSignal,
  ): Promise<ObjectPage>;
  /** At most 1,000 keys; success also where nothing is. Answers those that it could not delete, each with the reason. */
  deleteObjects(
    request: { bucket: string; keys: readonly string[] },
    signal: AbortSignal,
  ): Promise<{ key: string; error: LongshoreError }[]>;
  close(): void;
}

/** What a store is told about its server (configuration `s3`, or one of `stores`). */
export interface StoreConfig {
  /** undefined: AWS itself. */
  endpoint?: string | undefined;
  region: string;
  /** Static keys; otherwise the standard AWS chain (environment, profile, SSO, web identity, roles, instance). */
  accessKeyId?: string | undefined;
  secretAccessKey?: string | undefined;
  sessionToken?: string | undefined;
  profile?: string | undefined;
  /** Default: true when an endpoint is given. */
  forcePathStyle?: boolean | undefined;
  /** S3 Transfer Acceleration; AWS only. */
  accelerate?: boolean | undefined;
  /** The names that answer over IPv6 too; AWS only. */
  dualStack?: boolean | undefined;
  /** Where those who are handed presigned requests reach the server; default: where we do. */
  publicEndpoint?: string | undefined;
  /** The server takes forms (POST with a policy), as a few do not; default true. */
  forms?: boolean | undefined;
  maxConnections: number;
  connectTimeoutMs: number;
  socketTimeoutMs: number;
  /** Certificates (PEM) that are trusted beside those that Node trusts. */
  ca?: string | undefined;
}

export const TOKEN_METADATA = { uploadId: 'longshore-upload-id', nonce: 'longshore-nonce' } as const;

export function tokenMetadata(token: TruthToken): Record<string, string> {
  return { [TOKEN_METADATA.uploadId]: token.uploadId, [TOKEN_METADATA.nonce]: token.nonce };
}

export function carriesToken(head: ObjectHead, token: TruthToken): boolean {
  return (
    head.metadata[TOKEN_METADATA.uploadId] === token.uploadId &&
    head.metadata[TOKEN_METADATA.nonce] === token.nonce
  );
}

export function holderOf(head: ObjectHead | undefined): KeyHolder {
  return head === undefined ? 'absent' : { etag: head.etag, lastModified: head.lastModified };
}
