/** A customer's key in the spellings that requests need, and what an answer says of it. */
import { LongshoreError } from '../../core/errors.js';
import type { Encryption } from '../../core/uploads.js';
import type { CustomerKey } from '../keys/customer-key.js';
import { mustBeTrusted } from '../keys/transport.js';
import type { CallSite } from './s3-errors.js';
import type { CopySource, ObjectRef, ObjectStore } from './store.js';

const ALGORITHM = 'AES256';

interface KeyFields {
  SSECustomerAlgorithm?: string;
  SSECustomerKey?: string;
  SSECustomerKeyMD5?: string;
}

/** As client-s3 names them. */
export function keyFields({ customerKey }: Pick<ObjectRef, 'customerKey'>): KeyFields {
  if (customerKey === undefined) return {};
  return {
    SSECustomerAlgorithm: ALGORITHM,
    SSECustomerKey: customerKey.key.toString('base64'),
    SSECustomerKeyMD5: customerKey.md5,
  };
}

interface SourceKeyFields {
  CopySourceSSECustomerAlgorithm?: string;
  CopySourceSSECustomerKey?: string;
  CopySourceSSECustomerKeyMD5?: string;
}

export function sourceKeyFields({ customerKey }: CopySource): SourceKeyFields {
  if (customerKey === undefined) return {};
  return {
    CopySourceSSECustomerAlgorithm: ALGORITHM,
    CopySourceSSECustomerKey: customerKey.key.toString('base64'),
    CopySourceSSECustomerKeyMD5: customerKey.md5,
  };
}

/** As headers with lower-case names. */
export function keyHeaders({ customerKey }: Pick<ObjectRef, 'customerKey'>): Record<string, string> {
  if (customerKey === undefined) return {};
  const prefix = 'x-amz-server-side-encryption-customer';
  return {
    [`${prefix}-algorithm`]: ALGORITHM,
    [`${prefix}-key`]: customerKey.key.toString('base64'),
    [`${prefix}-key-md5`]: customerKey.md5,
  };
}

/** Throws SecretUnavailable when SSE-C is asked for and the key that goes with it is not. */
export function demandKey(
  site: CallSite,
  encryption: Encryption | undefined,
  key: CustomerKey | undefined,
): void {
  if (encryption?.type !== 'SSE_C' || key?.md5 === encryption.keyMd5) return;
  const message =
    key === undefined ? 'SSE-C is asked for without its key' : 'the key that came is not the one asked for';
  throw new LongshoreError('SecretUnavailable', `${site.op}: ${message}`, { op: site.op, key: site.key });
}

/** The store, refusing with InsecureTransport to send a key where others could read it. */
export function guardingKeys(store: ObjectStore, trusted: boolean): ObjectStore {
  if (trusted) return store;
  return wrapping(store, (call, name) => async (request, signal) => {
    if (request.customerKey !== undefined || request.source?.customerKey !== undefined)
      mustBeTrusted(false, name);
    return await call(request, signal);
  });
}

/** The store with this key in every request; undefined: the store itself. */
export function withKey(store: ObjectStore, customerKey: CustomerKey | undefined): ObjectStore {
  if (customerKey === undefined) return store;
  return wrapping(store, (call) => (request, signal) => call({ ...request, customerKey }, signal));
}

type Call = (request: ObjectRef & { source?: CopySource }, signal: AbortSignal) => Promise<unknown>;

/** What S3 wants the key for. */
const KEYED = [
  'headObject',
  'getObject',
  'putObject',
  'copyObject',
  'createMultipartUpload',
  'uploadPart',
  'uploadPartCopy',
  'listParts',
  'completeMultipartUpload',
] as const satisfies (keyof ObjectStore)[];

function wrapping(store: ObjectStore, wrap: (call: Call, name: string) => Call): ObjectStore {
  const calls = store as unknown as Readonly<Record<string, Call | undefined>>;
  const wrapped = KEYED.flatMap((name) => {
    const call = calls[name];
    return call === undefined ? [] : [[name, wrap(call, name)] as const];
  });
  return { ...store, ...Object.fromEntries(wrapped) };
}
