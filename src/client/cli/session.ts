/** What commands begin with: the configuration, and a connection that is closed whatever happens. */
import { LongshoreError } from '../../core/errors.js';
import { loadConfig, type Config, type ConfigFlags } from '../../infra/config.js';
import type { Pool } from '../../infra/catalog/pool.js';
import { LongshoreClient } from '../longshore-client.js';
import type { Io } from './io.js';
import { flagsOf, type Connections } from './options.js';

export function configure(io: Io, options: Connections, more: ConfigFlags = {}): Config {
  const config = loadConfig({ flags: { ...flagsOf(options), ...more }, env: io.env, cwd: io.cwd });
  for (const warning of config.warnings) io.err(`warning: ${warning}`);
  return config;
}

export async function withClient<T>(
  config: Config,
  work: (client: LongshoreClient) => Promise<T>,
): Promise<T> {
  const tracing = config.telemetry.traces
    ? (await import('../../infra/telemetry/tracing.js')).startTracing(config.telemetry, 'cli', console.error)
    : undefined;
  const client = await LongshoreClient.connect(config.temporal, tracing && [tracing.client]);
  try {
    return await work(client);
  } finally {
    await client.close();
    await tracing?.shutdown();
  }
}

/** Throws InvalidConfig when no PostgreSQL is configured. */
export async function withCatalog<T>(config: Config, work: (pool: Pool) => Promise<T>): Promise<T> {
  if (config.postgresUrl === undefined) {
    throw new LongshoreError('InvalidConfig', 'no PostgreSQL is configured', {
      op: 'connect',
      hint: 'Set DATABASE_URL, or start `longshore dev` in this folder.',
    });
  }
  const { createPool } = await import('../../infra/catalog/pool.js');
  const pool = createPool(config.postgresUrl, { max: 2, applicationName: 'longshore-cli' });
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}
