/** Builds what the activities of a worker need. The only place that builds clients for workers. */
import type { OrchestrationActivities } from '../activities/catalog.js';
import { createOrchestrationActivities } from '../activities/catalog.js';
import type { JobOrchestrationActivities, JobTransferActivities } from '../activities/jobs.js';
import { createJobOrchestrationActivities } from '../activities/job-orchestration.js';
import { createCheckBucket } from '../activities/bucket-check.js';
import { createCheckFolder, type CheckDeps } from '../activities/check.js';
import { createDeleteGone, createLookAtDeletions } from '../activities/deletions.js';
import { mapFailures } from '../activities/failures.js';
import { createUploadFiles, type UploadFilesDeps } from '../activities/files.js';
import { createMustGrant } from '../activities/granted.js';
import { createInspectSource } from '../activities/inspect.js';
import { createKeysOf } from '../activities/keyed.js';
import {
  createSessionActivities,
  createSessionCatalogActivities,
  type SessionActivities,
  type SessionCatalogActivities,
} from '../activities/sessions.js';
import { createMaintenanceActivities, type MaintenanceActivities } from '../activities/maintenance.js';
import { createScanFolder } from '../activities/scan.js';
import type { RelayActivities } from '../activities/relay.js';
import { beginMultipart, createTransferActivities, type TransferActivities } from '../activities/uploads.js';
import { createVerifyObject } from '../activities/verify.js';
import type { Client } from '@temporalio/client';
import { LongshoreError } from '../core/errors.js';
import { createBufferPool } from '../infra/buffers.js';
import { countActive } from '../infra/catalog/active.js';
import { sinkLags } from '../infra/catalog/outbox.js';
import { createPool, type Pool } from '../infra/catalog/pool.js';
import { createVault, type Vault } from '../infra/catalog/vault.js';
import type { Config } from '../infra/config.js';
import { openKeyStore } from '../infra/keys/index.js';
import { createLimits } from '../infra/limits.js';
import { createObjectStore, type WorkerStore } from '../infra/s3/index.js';
import type { ObjectStore, StoreConfig } from '../infra/s3/store.js';
import { createSources, type ClosableSources } from '../infra/sources/index.js';
import type { Logger } from '../infra/telemetry/log.js';
import type { StoreMeter } from '../infra/telemetry/meter.js';
import type { Metrics } from '../infra/telemetry/metrics.js';
import { createRelays, type Relays } from './relays.js';

export interface WorkerDeps {
  orchestration: OrchestrationActivities &
    JobOrchestrationActivities &
    SessionCatalogActivities &
    RelayActivities;
  transfer: TransferActivities & JobTransferActivities & SessionActivities & MaintenanceActivities;
  /** Throws when the catalog's schema is not the one this build works with. */
  db: Pool;
  relays: Pick<Relays, 'sinks' | 'stop'>;
  close(): Promise<void>;
}

export function createWorkerDeps(config: Config, log: Logger, client: Client, metrics?: Metrics): WorkerDeps {
  const db = openCatalog(config, log);
  const vault = createVault({ db, sealingKey: config.sealingKey });
  const keys = openKeyStore(db, config);
  const stores = openStores(config, metrics?.store);
  metrics?.observe({
    store: stores.destination.limiter,
    active: () => countActive(db),
    outbox: () => sinkLags(db, config.installation),
  });
  const sources = openSources(config, stores, vault);
  const { roots, upload: defaults } = config;
  const store = stores.destination;
  const limits = createLimits(db, {
    onError: (error) => log.warn({ err: error }, 'the limits of a job could not be renewed'),
  });
  const keysOf = createKeysOf(keys);
  const { installation, temporal, monitor, serverProfile: profile } = config;
  const mustGrant = createMustGrant(db);
  const inspecting = { store, sources, defaults, profile, keysOf };
  const transfer = {
    ...createTransferActivities({
      ...{ ...inspecting, limits, mustGrant },
      buffers: createBufferPool(config.worker.memoryBudget),
    }),
    ...createSessionActivities({
      ...{ db, store, keysOf, profile, installation },
      inspect: createInspectSource(inspecting),
      create: (input, earlier) => beginMultipart({ store, mustGrant, keysOf }, input, earlier),
      verify: createVerifyObject({ store, keysOf }),
    }),
    ...createJobTransferActivities({
      ...{ db, store, roots, defaults, limits },
      stability: config.monitor.stability,
    }),
    ...createMaintenanceActivities({
      ...{ db, store, client, temporal, installation },
      ...{ secrets: [vault, keys], keepEventsMs: config.events.keepMs },
    }),
  };
  const cancelRun = async (workflowId: string, runId: string): Promise<void> => {
    await client.workflow.getHandle(workflowId, runId).cancel();
  };
  const relays = createRelays(config, db, log, metrics);
  const orchestration = {
    ...createOrchestrationActivities({ db, installation, cancelRun }),
    ...createJobOrchestrationActivities({ db, installation, temporal, client, monitor }),
    ...createSessionCatalogActivities({ db }),
    ...relays.activities,
  };
  const close = async (): Promise<void> => {
    await limits.close();
    await sources.close();
    stores.close();
    await db.end();
  };
  return { orchestration, transfer, db, relays, close };
}

function openCatalog({ postgresUrl }: Config, log: Logger): Pool {
  if (postgresUrl === undefined) {
    throw new LongshoreError('InvalidConfig', 'no PostgreSQL is configured', {
      op: 'worker',
      hint: 'Set DATABASE_URL.',
    });
  }
  return createPool(postgresUrl, {
    applicationName: 'longshore-worker',
    onConnectionError: (error) => log.warn({ err: error }, 'a PostgreSQL connection was lost'),
  });
}

function openSources(config: Config, stores: Stores, vault: Vault): ClosableSources {
  return createSources({
    roots: config.roots,
    url: config.url,
    stores: stores.named,
    sameStore: (name) => isSameStore(config.s3, config.stores[name]),
    unseal: (ref) => vault.unseal(ref, 'source-url'),
  });
}

/** What reads a job's folder and moves its files. */
function createJobTransferActivities(deps: UploadFilesDeps & CheckDeps): JobTransferActivities {
  return mapFailures<JobTransferActivities>({
    scanFolder: createScanFolder(deps),
    checkFolder: createCheckFolder(deps),
    uploadFiles: createUploadFiles(deps),
    lookAtDeletions: createLookAtDeletions(deps),
    deleteGone: createDeleteGone(deps),
    checkBucket: createCheckBucket(deps),
  });
}

interface Stores {
  destination: WorkerStore;
  named: (name: string | undefined) => ObjectStore;
  close: () => void;
}

function openStores(config: Config, meter: StoreMeter | undefined): Stores {
  const destination = createObjectStore(config.s3, { meter });
  const others = new Map<string, ObjectStore>();
  const named = (name: string | undefined): ObjectStore => {
    if (name === undefined) return destination;
    const open = others.get(name);
    if (open !== undefined) return open;
    const store = config.stores[name];
    if (store === undefined) {
      const known = Object.keys(config.stores).join(', ') || 'none';
      throw new LongshoreError(
        'SourceInvalid',
        `no store named ${name} is configured here (known: ${known})`,
        {
          op: 'inspect',
          hint: `Set LONGSHORE_STORES_${name.toUpperCase().replaceAll('-', '_')}_ENDPOINT on the workers.`,
        },
      );
    }
    const created = createObjectStore(store, { meter });
    others.set(name, created);
    return created;
  };
  const close = (): void => {
    for (const store of [destination, ...others.values()]) store.close();
  };
  return { destination, named, close };
}

/** One server under the same rights copies by itself, whatever the store is called. */
function isSameStore(destination: StoreConfig, named: StoreConfig | undefined): boolean {
  const identity = ({ endpoint, region, accessKeyId, secretAccessKey, profile }: StoreConfig): string =>
    JSON.stringify([endpoint, region, accessKeyId, secretAccessKey, profile]);
  return named !== undefined && identity(named) === identity(destination);
}
