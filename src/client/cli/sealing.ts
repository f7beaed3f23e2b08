/** An address with credentials or a query is a secret: it goes into the vault, and only its reference to Temporal. */
import { LongshoreError } from '../../core/errors.js';
import { MAX_PARKED_MS } from '../../core/limits.js';
import { createPool } from '../../infra/catalog/pool.js';
import { createVault } from '../../infra/catalog/vault.js';
import type { Config } from '../../infra/config.js';

export interface Sealed {
  reference: string;
  fingerprint: string;
  /** Ends the connection; `keep: false` discards the sealed address, which nobody will ask for. */
  close(outcome: { keep: boolean }): Promise<void>;
}

/** Longer than an upload may be parked, for it has to be read after that. */
const LIFETIME_MS = 2 * MAX_PARKED_MS;
/** What workers unseal addresses under. */
const PURPOSE = 'source-url';

/** Throws InvalidConfig without a database or key, CatalogUnavailable while PostgreSQL is away. */
export async function sealAddress(config: Config, address: string): Promise<Sealed> {
  if (config.postgresUrl === undefined) {
    throw new LongshoreError(
      'InvalidConfig',
      'an address with a query or a password is sealed in PostgreSQL, and none is configured',
      {
        op: 'seal',
        hint: 'Set DATABASE_URL, or start `longshore dev` in this folder.',
      },
    );
  }
  const pool = createPool(config.postgresUrl, { max: 1, applicationName: 'longshore-cli' });
  const vault = createVault({ db: pool, sealingKey: config.sealingKey });
  try {
    const reference = await vault.seal(address, { purpose: PURPOSE, ttlMs: LIFETIME_MS });
    return {
      reference,
      fingerprint: vault.fingerprintSecret(address),
      close: async ({ keep }) => {
        try {
          if (!keep) await vault.discard(reference);
        } finally {
          await pool.end();
        }
      },
    };
  } catch (error) {
    await pool.end();
    throw error;
  }
}
