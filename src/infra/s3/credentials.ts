/** The keys that requests are signed with: static ones, a profile's, or the standard AWS chain's. */
import { defaultProvider } from '@aws-sdk/credential-provider-node';
import type { StoreConfig } from './store.js';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

/** Cheap to call for every request: what was found is kept until shortly before it expires. `forceRefresh` asks anew. */
export type CredentialSource = (options?: { forceRefresh?: boolean }) => Promise<Credentials>;

type Keys = Pick<StoreConfig, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'profile'>;

export function createCredentialSource(config: Keys): CredentialSource {
  const { accessKeyId, secretAccessKey, sessionToken, profile } = config;
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    const fixed = Promise.resolve(
      sessionToken === undefined
        ? { accessKeyId, secretAccessKey }
        : { accessKeyId, secretAccessKey, sessionToken },
    );
    return () => fixed;
  }
  const chain = defaultProvider(profile === undefined ? {} : { profile });
  // The chain keeps what it found. Marked so, the SDK keeps no copy of its own, which a forced refresh would not reach.
  return Object.assign((options?: { forceRefresh?: boolean }) => chain(options), { memoized: true });
}
