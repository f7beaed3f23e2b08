/** Customers' keys where requests are made: fetched by each activity for itself, and held no longer than it runs. */
import { LongshoreError } from '../core/errors.js';
import type { SealedKey, UploadObjectInput } from '../core/uploads.js';
import type { CustomerKey, KeyStore } from '../infra/keys/index.js';

export interface UploadKeys {
  /** What the object is to be encrypted with. */
  destination?: CustomerKey;
  /** What the object that is its source is encrypted with. */
  source?: CustomerKey;
}

/** `op`: what they are needed for; it is written down. Throws SecretUnavailable, KeyServiceUnavailable. */
export type KeysOf = (
  upload: Pick<UploadObjectInput, 'id' | 'source' | 'options'>,
  op: string,
) => Promise<UploadKeys>;

export function createKeysOf(keys: KeyStore): KeysOf {
  const use = async ({ keyRef, keyMd5 }: SealedKey, upload: string, op: string): Promise<CustomerKey> => {
    const key = await keys.use(keyRef, { upload, op });
    if (key.md5 === keyMd5) return key;
    throw new LongshoreError(
      'SecretUnavailable',
      'the sealed key is not the one that the upload began with',
      {
        op,
        key: keyRef,
      },
    );
  };
  return async ({ id, source, options }, op) => {
    const found: UploadKeys = {};
    if (options.encryption?.type === 'SSE_C') found.destination = await use(options.encryption, id, op);
    if (source.kind === 'object' && source.sealedKey !== undefined)
      found.source = await use(source.sealedKey, id, op);
    return found;
  };
}

/** For uploads without keys of customers. */
export const NO_KEYS: KeysOf = () => Promise.resolve({});
