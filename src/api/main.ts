/** What `longshore api` does: answer until told to stop. */
import { setFlagsFromString } from 'node:v8';
import { createVault } from '../infra/catalog/vault.js';
import { countActive } from '../infra/catalog/active.js';
import { countApiKeys } from '../infra/catalog/api-keys.js';
import { createPool, type Pool } from '../infra/catalog/pool.js';
import type { Config } from '../infra/config.js';
import { openKeyStore } from '../infra/keys/index.js';
import { createObjectStore } from '../infra/s3/index.js';
import { createPresigner } from '../infra/s3/presign.js';
import { provingEncryption } from '../infra/s3/proving.js';
import { openApiTelemetry } from '../infra/telemetry/api.js';
import { createLogger, type Logger } from '../infra/telemetry/log.js';
import { LongshoreError } from '../core/errors.js';
import { createApi } from './server.js';
import { createSessionService } from './sessions/create.js';
import { TemporalLink } from './temporal-link.js';

export interface ApiArguments {
  version: string;
  /** Throws while the S3 server does not answer. */
  checkStorage: () => Promise<void>;
  /** Told the address once requests are answered. */
  ready: (url: string) => void;
}

const POOL_SIZE = 20;
/** Requests that are being answered at a stop may take this long. */
const GRACE_MS = 10_000;

/**
 * By so much of what lives (40 MiB) the heap may grow before V8 marks all of it. Measured: the Buffers of bodies that were
 * long on their way come to the old ones, and with V8's own measure it marked the heap for every 50 MiB that passed.
 */
const HEAP_GROWTH = 400;

/** Returns the exit code after a stop that was asked for. Throws what keeps it from starting. */
export async function runApi(config: Config, args: ApiArguments): Promise<number> {
  const log = createLogger({ level: config.logLevel, name: 'api' });
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`);
  const stop = onStopSignals(log);
  try {
    const api = await startApi(config, args, log);
    args.ready(api.url);
    await stop.asked;
    await api.close();
    log.info('the API has stopped');
    return 0;
  } finally {
    stop.forget();
  }
}

export interface RunningApi {
  /** Its base, without a slash at its end. */
  url: string;
  /** Requests that are being answered are waited for; streams of events end. */
  close(): Promise<void>;
}

export async function startApi(
  config: Config,
  { version, checkStorage }: Pick<ApiArguments, 'version' | 'checkStorage'>,
  log: Logger,
): Promise<RunningApi> {
  if (config.postgresUrl === undefined) {
    throw new LongshoreError('InvalidConfig', 'no PostgreSQL is configured', {
      op: 'api',
      hint: 'Set DATABASE_URL, or start `longshore dev` in this folder.',
    });
  }
  const db = createPool(config.postgresUrl, {
    max: POOL_SIZE,
    applicationName: 'longshore-api',
    onConnectionError: (error) => log.warn({ err: error }, 'a PostgreSQL connection was lost'),
  });
  const telemetry = await openApiTelemetry(config.telemetry, { active: () => countActive(db) }, (message) =>
    log.warn(message),
  );
  const temporal = new TemporalLink(config.temporal, telemetry.client);
  const connected = createObjectStore(config.s3, { log });
  const store = provingEncryption(connected);
  const keys = openKeyStore(db, { sealingKey: config.sealingKey, kms: config.kms });
  const waiting = () => connected.limiter.waiting;
  const sessions = createSessionService({ config, log, db, temporal, store, keys, waiting });
  const release = async (): Promise<void> => {
    await sessions.close();
    store.close();
    await temporal.close();
    await telemetry.close();
    await db.end();
  };
  try {
    if (config.api.keysRequired) await mustHaveKeys(db, config);
    const vault = createVault({ db, sealingKey: config.sealingKey });
    const app = await createApi({
      ...{ config, log, db, vault, store, keys, sessions },
      presigner: createPresigner(config.s3),
      ...{ temporal, telemetry, checkStorage, version },
    });
    const url = await listen(() => app.listen({ host: config.api.host, port: config.api.port }), config);
    return {
      url,
      close: async () => {
        const hard = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
        await app.close();
        clearTimeout(hard);
        await release();
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Off loopback, and behind a proxy, everyone may call who reaches it. */
async function mustHaveKeys(db: Pool, { api }: Config): Promise<void> {
  if ((await countApiKeys(db)) > 0) return;
  const message = `the API would answer on ${api.host}, and there is no API key`;
  throw new LongshoreError('InvalidConfig', message, {
    op: 'api',
    hint: 'Make one with `longshore keys add NAME --grant bucket/prefix/`, or listen on 127.0.0.1 without a proxy.',
  });
}

async function listen(start: () => Promise<string>, { api }: Config): Promise<string> {
  try {
    return (await start()).replace(/\/$/, '');
  } catch (cause) {
    const message = `the API cannot listen on ${api.host}:${api.port}: ${String(cause)}`;
    const hint = 'Choose another --port (LONGSHORE_API_PORT), or end what uses this one.';
    throw new LongshoreError('InvalidConfig', message, { op: 'listen', hint, cause });
  }
}

/** The first signal asks for a graceful end, the second ends at once. */
function onStopSignals(log: Logger): { asked: Promise<void>; forget: () => void } {
  let onSignal: (signal: NodeJS.Signals) => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    let before = false;
    onSignal = (signal) => {
      if (before) {
        log.warn({ signal }, 'ending at once');
        process.exit(1);
      }
      before = true;
      log.info({ signal }, 'stopping; another signal ends at once');
      resolve();
    };
  });
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const forget = (): void => {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  };
  return { asked, forget };
}
