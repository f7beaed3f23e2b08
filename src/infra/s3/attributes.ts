/** What an object carries besides its bytes, in the two spellings that requests need, and whether the server took it. */
import { LongshoreError } from '../../core/errors.js';
import type { Encryption } from '../../core/uploads.js';
import { encodeComponent } from './addressing.js';
import { demandKey } from './customer-keys.js';
import { s3Name } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import type { AppliedEncryption, ObjectAttributes, ObjectRef } from './store.js';

/** As client-s3 names them. */
export interface AttributeFields {
  ContentType?: string;
  CacheControl?: string;
  Metadata?: Record<string, string>;
  Tagging?: string;
  StorageClass?: 'STANDARD';
  ServerSideEncryption?: 'AES256' | 'aws:kms';
  SSEKMSKeyId?: string;
}

/** What an answer says of encryption. */
export interface EncryptionAnswer {
  algorithm: string | undefined;
  kmsKeyId: string | undefined;
  customerAlgorithm: string | undefined;
  customerKeyMd5: string | undefined;
}

/** As client-s3 names what an answer says. */
export function encryptionAnswer(answer: {
  ServerSideEncryption?: string | undefined;
  SSEKMSKeyId?: string | undefined;
  SSECustomerAlgorithm?: string | undefined;
  SSECustomerKeyMD5?: string | undefined;
}): EncryptionAnswer {
  return {
    algorithm: answer.ServerSideEncryption,
    kmsKeyId: answer.SSEKMSKeyId,
    customerAlgorithm: answer.SSECustomerAlgorithm,
    customerKeyMd5: answer.SSECustomerKeyMD5,
  };
}

/** The answer says nothing of encryption. */
export function isSilent({ algorithm, customerAlgorithm }: EncryptionAnswer): boolean {
  return algorithm === undefined && customerAlgorithm === undefined;
}

type Attributed = ObjectAttributes & Pick<ObjectRef, 'customerKey'>;

/** Throws InvalidInput for what no HTTP header can carry, SecretUnavailable for SSE-C without its key. */
export function attributeFields(site: CallSite, attributes: Attributed): AttributeFields {
  const fields: AttributeFields = {};
  const { contentType, cacheControl, metadata, tags, storageClass, encryption } = attributes;
  if (contentType !== undefined) fields.ContentType = headerText(site, 'content type', contentType);
  if (cacheControl !== undefined) fields.CacheControl = headerText(site, 'cache control', cacheControl);
  if (metadata !== undefined) fields.Metadata = metadataFields(site, metadata);
  if (tags !== undefined && Object.keys(tags).length > 0) fields.Tagging = encodeTags(tags);
  // Servers know classes that the SDK's list does not.
  if (storageClass !== undefined)
    fields.StorageClass = headerText(site, 'storage class', storageClass) as 'STANDARD';
  demandKey(site, encryption, attributes.customerKey);
  if (encryption !== undefined && encryption.type !== 'SSE_C') {
    fields.ServerSideEncryption = encryption.type === 'SSE_S3' ? 'AES256' : 'aws:kms';
    if (encryption.type === 'SSE_KMS' && encryption.kmsKeyId !== undefined) {
      fields.SSEKMSKeyId = headerText(site, 'KMS key id', encryption.kmsKeyId);
    }
  }
  return fields;
}

/** The same as headers with lower-case names. */
export function attributeHeaders(site: CallSite, attributes: Attributed): Record<string, string> {
  const fields = attributeFields(site, attributes);
  const headers: Record<string, string> = {};
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) headers[name] = value;
  };
  set('content-type', fields.ContentType);
  set('cache-control', fields.CacheControl);
  set('x-amz-tagging', fields.Tagging);
  set('x-amz-storage-class', fields.StorageClass);
  set('x-amz-server-side-encryption', fields.ServerSideEncryption);
  set('x-amz-server-side-encryption-aws-kms-key-id', fields.SSEKMSKeyId);
  for (const [name, value] of Object.entries(fields.Metadata ?? {})) headers[`x-amz-meta-${name}`] = value;
  return headers;
}

/** Throws EncryptionNotApplied unless the answer confirms what was asked for. */
export function demandEncryption(
  site: CallSite,
  asked: Encryption | undefined,
  answer: EncryptionAnswer,
): void {
  const problem = asked === undefined ? undefined : encryptionProblem(asked, answer);
  if (problem === undefined) return;
  throw new LongshoreError('EncryptionNotApplied', `${site.op} ${s3Name(site)}: ${problem}`, {
    op: site.op,
    key: s3Name(site),
  });
}

function encryptionProblem(asked: Encryption, answer: EncryptionAnswer): string | undefined {
  if (asked.type === 'SSE_C') return customerProblem(asked.keyMd5, answer);
  const { algorithm, kmsKeyId } = answer;
  const wanted = asked.type === 'SSE_S3' ? 'AES256' : 'aws:kms';
  if (algorithm !== wanted)
    return `${wanted} was asked for, the server answered ${algorithm ?? 'without encryption'}`;
  if (asked.type !== 'SSE_KMS' || asked.kmsKeyId === undefined || kmsKeyId === undefined) return undefined;
  // Asked by id, answered by ARN. An alias cannot be compared, for the answer names the key behind it.
  if (/(?:^|:)alias\//.test(asked.kmsKeyId)) return undefined;
  const same =
    kmsKeyId === asked.kmsKeyId ||
    kmsKeyId.endsWith(`/${asked.kmsKeyId}`) ||
    kmsKeyId.endsWith(`:${asked.kmsKeyId}`);
  return same ? undefined : `the KMS key ${asked.kmsKeyId} was asked for, the server used ${kmsKeyId}`;
}

function customerProblem(
  keyMd5: string,
  { customerAlgorithm, customerKeyMd5 }: EncryptionAnswer,
): string | undefined {
  if (customerAlgorithm !== 'AES256')
    return `the customer's key was to encrypt it, the server answered ${customerAlgorithm ?? 'without encryption'}`;
  const same = customerKeyMd5 === undefined || customerKeyMd5 === keyMd5;
  return same ? undefined : 'the server encrypted it with another key than the customer’s';
}

/** What the answer says about an object at rest. */
export function encryptionOf({
  algorithm,
  kmsKeyId,
  customerAlgorithm,
  customerKeyMd5,
}: EncryptionAnswer): AppliedEncryption | undefined {
  if (customerAlgorithm !== undefined)
    return customerKeyMd5 === undefined ? { type: 'SSE_C' } : { type: 'SSE_C', keyMd5: customerKeyMd5 };
  if (algorithm === 'AES256') return { type: 'SSE_S3' };
  if (algorithm === 'aws:kms')
    return kmsKeyId === undefined ? { type: 'SSE_KMS' } : { type: 'SSE_KMS', kmsKeyId };
  return undefined;
}

function metadataFields(site: CallSite, metadata: Record<string, string>): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
      throw invalid(site, `the metadata name ${JSON.stringify(name)}`);
    fields[name.toLowerCase()] = headerText(site, `metadata ${name}`, value);
  }
  return fields;
}

/** Beyond ASCII every server encodes in its own way, and what comes back would not be what was sent. */
function headerText(site: CallSite, what: string, value: string): string {
  if (!/^[\x20-\x7e]*$/.test(value)) throw invalid(site, `the value of ${what}`);
  return value;
}

function invalid(site: CallSite, what: string): LongshoreError {
  return new LongshoreError('InvalidInput', `${site.op} ${s3Name(site)}: ${what} must be printable ASCII`, {
    op: site.op,
    key: s3Name(site),
  });
}

function encodeTags(tags: Record<string, string>): string {
  return Object.entries(tags)
    .map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`)
    .join('&');
}
