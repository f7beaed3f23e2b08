/**
 * What is secret of an upload goes into PostgreSQL, sealed, and only its reference to Temporal: an address with credentials
 * or a query, and customers' keys.
 */
import { LongshoreError } from '../../core/errors.js';
import { MAX_PARKED_MS } from '../../core/limits.js';
import { createPool, type Pool } from '../../infra/catalog/pool.js';
import { createVault } from '../../infra/catalog/vault.js';
import type { Config } from '../../infra/config.js';
import { openKeyStore, type CustomerKey, type KeyStore } from '../../infra/keys/index.js';
import type { SealedKey } from '../../core/uploads.js';
import type { StartUpload } from '../longshore-client.js';

export interface Secrets {
  /** The source's full address. */
  url?: string | undefined;
  /** What the object is to be encrypted with. */
  key?: CustomerKey | undefined;
  /** What the object that is the source is encrypted with. */
  sourceKey?: CustomerKey | undefined;
}

export interface Sealed {
  /** The upload that names what was sealed. */
  upload: StartUpload;
  /** Ends the connection; `keep: false` discards what was sealed, which nobody will ask for. */
  close(outcome: { keep: boolean }): Promise<void>;
}

/** Longer than an upload may be parked, for it has to be read after that. */
const LIFETIME_MS = 2 * MAX_PARKED_MS;
/** What workers unseal addresses under. */
const PURPOSE = 'source-url';

/** Throws InvalidConfig without a database or key, CatalogUnavailable while PostgreSQL is away. */
export async function seal(
  config: Config,
  upload: StartUpload & { id: string },
  secrets: Secrets,
): Promise<Sealed> {
  const pool = connect(config);
  const sealing = new Sealing(pool, config, upload.id);
  try {
    const sealed = await sealing.all(upload, secrets);
    return {
      upload: sealed,
      close: async ({ keep }) => {
        try {
          if (!keep) await sealing.discard();
        } finally {
          await pool.end();
        }
      },
    };
  } catch (error) {
    await sealing.discard().finally(() => pool.end());
    throw error;
  }
}

class Sealing {
  private readonly vault: ReturnType<typeof createVault>;
  private readonly keys: KeyStore;
  private readonly undo: (() => Promise<void>)[] = [];

  constructor(
    db: Pool,
    config: Config,
    private readonly id: string,
  ) {
    this.vault = createVault({ db, sealingKey: config.sealingKey });
    this.keys = openKeyStore(db, config);
  }

  async all(upload: StartUpload, { url, key, sourceKey }: Secrets): Promise<StartUpload> {
    let sealed = upload;
    if (url !== undefined) sealed = await this.address(sealed, url);
    if (key !== undefined) {
      const encryption = { type: 'SSE_C' as const, ...(await this.key(key)) };
      sealed = { ...sealed, options: { ...sealed.options, encryption } };
    }
    if (sourceKey !== undefined && sealed.source.kind === 'object')
      sealed = { ...sealed, source: { ...sealed.source, sealedKey: await this.key(sourceKey) } };
    return sealed;
  }

  async discard(): Promise<void> {
    for (const step of this.undo) await step();
  }

  private async address(upload: StartUpload, url: string): Promise<StartUpload> {
    if (upload.source.kind !== 'url') return upload;
    const sealed = await this.vault.seal(url, { purpose: PURPOSE, ttlMs: LIFETIME_MS });
    this.undo.push(() => this.vault.discard(sealed));
    const secretFingerprint = this.vault.fingerprintSecret(url);
    return { ...upload, source: { ...upload.source, sealed }, secretFingerprint };
  }

  private async key({ key, md5 }: CustomerKey): Promise<SealedKey> {
    const keyRef = await this.keys.seal(key, { upload: this.id, ttlMs: LIFETIME_MS });
    this.undo.push(() => this.keys.wipe(keyRef));
    return { keyRef, keyMd5: md5 };
  }
}

function connect({ postgresUrl }: Config): Pool {
  if (postgresUrl !== undefined) return createPool(postgresUrl, { max: 1, applicationName: 'longshore-cli' });
  throw new LongshoreError(
    'InvalidConfig',
    'secrets (customers’ keys, addresses with a query or a password) are sealed in PostgreSQL, and none is configured',
    { op: 'seal', hint: 'Set DATABASE_URL, or start `longshore dev` in this folder.' },
  );
}
