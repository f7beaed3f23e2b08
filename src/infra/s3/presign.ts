/**
 * Requests that others may send in our name: one part, one object, or one form, for a short while. Nothing that ends an
 * upload is ever signed, for whoever holds such an address could end it with whatever is there.
 */
import { LongshoreError } from '../../core/errors.js';
import { MAX_PART_SIZE } from '../../core/limits.js';
import { createAddressing } from './addressing.js';
import { attributeHeaders } from './attributes.js';
import { createCredentialSource } from './credentials.js';
import type { CredentialSource, Credentials } from './credentials.js';
import { keyHeaders } from './customer-keys.js';
import { mustBeTrusted } from '../keys/transport.js';
import { s3Name } from './s3-errors.js';
import { createPolicySigner, createQuerySigner } from './sigv4.js';
import type { ObjectAttributes, ObjectRef, StoreConfig, UploadRef } from './store.js';

/** How long a presigned request may be begun, where nobody asks for less. */
export const PRESIGN_MS = 15 * 60_000;

export interface PresignedRequest {
  method: 'PUT';
  url: string;
  /** Signed: to be sent as they are. */
  headers: Record<string, string>;
  /** Signed too, but their values are secrets: whoever sends it fills them in. */
  secretHeaders: string[];
  /** ISO 8601. */
  expiresAt: string;
}

export interface PresignedForm {
  method: 'POST';
  url: string;
  /** To be sent before the field `file`. */
  fields: Record<string, string>;
  /** ISO 8601. */
  expiresAt: string;
}

/** What a body has to be; what is not given is not checked. */
export interface SignedBody {
  /** Bytes. */
  length?: number | undefined;
  /** base64 */
  crc32?: string | undefined;
  /** base64 */
  md5?: string | undefined;
}

export interface PartAsk extends UploadRef, SignedBody {
  partNumber: number;
  /** ms; default and most PRESIGN_MS. */
  lifetimeMs?: number | undefined;
}

export interface PutAsk extends ObjectRef, ObjectAttributes, SignedBody {
  ifNoneMatch?: '*' | undefined;
  lifetimeMs?: number | undefined;
}

export interface FormAsk extends ObjectRef, ObjectAttributes {
  /** Bytes; unknown: up to what S3 takes at once. */
  length?: number | undefined;
  lifetimeMs?: number | undefined;
}

/** All of them are computed here: no server is asked. Throw NotSupported, InsecureTransport, ExpiredCredentials. */
export interface Presigner {
  part(ask: PartAsk): Promise<PresignedRequest>;
  put(ask: PutAsk): Promise<PresignedRequest>;
  form(ask: FormAsk): Promise<PresignedForm>;
  /** The object’s address, unsigned. */
  location(ref: Pick<ObjectRef, 'bucket' | 'key'>): string;
}

export function createPresigner(
  config: StoreConfig,
  source: CredentialSource = createCredentialSource(config),
): Presigner {
  const addressing = createAddressing({ ...config, endpoint: config.publicEndpoint ?? config.endpoint });
  const signQuery = createQuerySigner(config.region);
  const signPolicy = createPolicySigner(config.region);

  const put = async (
    op: string,
    ref: ObjectRef & { lifetimeMs?: number | undefined },
    { query, headers }: { query: Record<string, string>; headers: Record<string, string> },
  ): Promise<PresignedRequest> => {
    const { origin, host, path } = addressOf(op, ref);
    // Whoever sends it sends the key too.
    if (ref.customerKey !== undefined) mustBeTrusted(addressing.trusted, op);
    const { credentials, now, lifetime, expiresAt } = await termsOf(source, op, ref.lifetimeMs);
    const request = { method: 'PUT', path, query, headers: { ...headers, host } };
    const signed = signQuery(request, credentials, { now, lifetime });
    const secretHeaders = Object.keys(headers).filter((name) => name === CUSTOMER_KEY);
    const told = Object.entries(headers).filter(([name]) => name !== CUSTOMER_KEY);
    const url = `${origin}${path}?${signed}`;
    return { method: 'PUT', url, headers: Object.fromEntries(told), secretHeaders, expiresAt };
  };

  const addressOf = (op: string, ref: ObjectRef) => {
    mustBePlain(op, ref);
    return addressing.of(ref);
  };

  return {
    part: (ask) =>
      put('UploadPart', ask, {
        query: { partNumber: String(ask.partNumber), uploadId: ask.s3UploadId },
        headers: { ...bodyHeaders(ask), ...keyHeaders(ask) },
      }),
    put: async (ask) => {
      const headers = {
        ...attributeHeaders({ op: 'PutObject', bucket: ask.bucket, key: ask.key }, ask),
        ...bodyHeaders(ask),
        ...keyHeaders(ask),
      };
      if (ask.ifNoneMatch !== undefined) headers['if-none-match'] = ask.ifNoneMatch;
      return put('PutObject', ask, { query: {}, headers });
    },
    form: async (ask) => {
      const op = 'PostObject';
      const { origin, path } = addressOf(op, { bucket: ask.bucket, key: '' });
      const { credentials, now, expiresAt } = await termsOf(source, op, ask.lifetimeMs);
      const { length } = ask;
      const fields = signPolicy(
        formFields(op, ask),
        [{ bucket: ask.bucket }, ['content-length-range', length ?? 0, length ?? MAX_PART_SIZE]],
        credentials,
        { now, expiresAt: new Date(expiresAt) },
      );
      return { method: 'POST', url: `${origin}${path}`, fields, expiresAt };
    },
    location(ref) {
      const { origin, path } = addressOf('location', ref);
      return `${origin}${path}`;
    },
  };
}

/** Access points and directory buckets have addresses and sessions of their own. */
function mustBePlain(op: string, { bucket, key }: ObjectRef): void {
  if (!bucket.startsWith('arn:') && !bucket.endsWith('--x-s3')) return;
  const message = `${op} ${s3Name({ op, bucket, key })}: requests to this kind of bucket are not handed out`;
  throw new LongshoreError('NotSupported', message, { op, key: bucket, hint: 'Send through the API.' });
}

/** A request lives no longer than the credentials that signed it. */
async function termsOf(source: CredentialSource, op: string, lifetimeMs = PRESIGN_MS) {
  const now = new Date();
  const credentials = await fresh(source, now);
  const end = Math.min(now.getTime() + Math.min(lifetimeMs, PRESIGN_MS), endOf(credentials));
  const lifetime = Math.floor((end - now.getTime()) / 1000);
  if (lifetime >= 1) {
    const expiresAt = new Date(now.getTime() + lifetime * 1000).toISOString();
    return { credentials, now, lifetime, expiresAt };
  }
  throw new LongshoreError('ExpiredCredentials', `${op}: nothing can be signed for the time that is left`, {
    op,
  });
}

/** The key’s header has to be signed, as all of `x-amz-`; its value goes into the signature alone. */
const CUSTOMER_KEY = 'x-amz-server-side-encryption-customer-key';

function bodyHeaders({ length, crc32, md5 }: SignedBody): Record<string, string> {
  return {
    ...(length === undefined ? {} : { 'content-length': String(length) }),
    ...(crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 }),
    ...(md5 === undefined ? {} : { 'content-md5': md5 }),
  };
}

/** Fields of a form are named as headers are, but for tags, which are XML there. */
function formFields(op: string, ask: FormAsk): Record<string, string> {
  const { bucket, key, tags = {}, encryption } = ask;
  if (Object.keys(tags).length > 0 || encryption?.type === 'SSE_C') {
    const what = encryption?.type === 'SSE_C' ? 'keys of customers' : 'tags';
    throw new LongshoreError('NotSupported', `a form has no place for ${what}`, {
      op,
      key: s3Name({ op, bucket, key }),
      hint: 'Ask for a presigned PUT, or for parts.',
    });
  }
  return { key, success_action_status: '201', ...attributeHeaders({ op, bucket, key }, ask) };
}

/** So near its end a credential is asked for anew before something is signed with it. */
const RENEW_MS = 60_000;

async function fresh(source: CredentialSource, now: Date): Promise<Credentials> {
  const credentials = await source();
  const left = endOf(credentials) - now.getTime();
  return left > RENEW_MS ? credentials : source({ forceRefresh: true });
}

function endOf({ expiration }: Credentials): number {
  return expiration === undefined ? Infinity : expiration.getTime();
}
