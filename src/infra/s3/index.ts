/** The store that workers use: the lean path over the SDK's, throttled with the server and patient with single failures. */
import { createAddressing } from './addressing.js';
import { createAdaptiveLimiter } from './aimd.js';
import type { AdaptiveLimiter } from './aimd.js';
import { createCredentialSource } from './credentials.js';
import { guardingKeys } from './customer-keys.js';
import { createLeanStore } from './lean-store.js';
import { metered } from './metered.js';
import { retrying } from './retrying.js';
import { createSdkStore } from './sdk-store.js';
import type { ObjectStore, StoreConfig } from './store.js';
import type { Logger } from '../telemetry/log.js';
import type { StoreMeter } from '../telemetry/meter.js';

export interface WorkerStore extends ObjectStore {
  /** For metrics: how many requests with bodies may be in flight, and are. */
  readonly limiter: Pick<AdaptiveLimiter, 'limit' | 'active' | 'waiting'>;
}

/** One per server and worker: connections, clock correction and throttling are shared by everything that goes through it. */
export function createObjectStore(
  config: StoreConfig,
  { meter, log }: { meter?: StoreMeter | undefined; log?: Pick<Logger, 'warn'> } = {},
): WorkerStore {
  const credentials = createCredentialSource(config);
  const limiter = createAdaptiveLimiter({ max: config.maxConnections });
  const sdk = createSdkStore(config, credentials);
  const lean = createLeanStore(config, sdk, { credentials, limiter, log });
  const store = guardingKeys(
    meter === undefined ? lean : metered(lean, meter),
    createAddressing(config).trusted,
  );
  return { ...retrying(store), limiter };
}
