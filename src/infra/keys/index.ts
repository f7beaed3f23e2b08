/** The store of customers' keys as configuration has it. */
import type { Queryable } from '../catalog/pool.js';
import type { KeysConfig } from '../config-keys.js';
import { createKeyStore, type KeyStore } from './key-store.js';
import { createLocalWrapping, type KeyWrapping } from './wrapping.js';

export type { CustomerKey } from './customer-key.js';
export { customerKey, customerKeyFromBase64, customerKeyFromFile } from './customer-key.js';
export type { KeyStore } from './key-store.js';
export { isTrustedSocket, mustBeTrusted } from './transport.js';

/** Works without a wrapping key too, as long as nobody brings a key. */
export function openKeyStore(db: Queryable, config: KeysConfig): KeyStore {
  return createKeyStore({ db, wrapping: createWrapping(config) });
}

/** KMS is loaded by those who use it: its client is large. */
function createWrapping({ sealingKey, kms }: KeysConfig): KeyWrapping {
  if (kms === undefined) return createLocalWrapping(sealingKey);
  let loading: Promise<KeyWrapping> | undefined;
  const loaded = (): Promise<KeyWrapping> =>
    (loading ??= import('./kms-wrapping.js').then(({ createKmsWrapping }) => createKmsWrapping(kms)));
  return {
    wrap: async (key, context) => await (await loaded()).wrap(key, context),
    unwrap: async (wrapped, context) => await (await loaded()).unwrap(wrapped, context),
  };
}
