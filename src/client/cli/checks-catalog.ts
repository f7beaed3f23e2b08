/** PostgreSQL: reached, and its tables those of this Longshore. */
import { LongshoreError } from '../../core/errors.js';
import { loadMigrations, schemaVersion } from '../../infra/catalog/migrations.js';
import { createPool, query, type Pool } from '../../infra/catalog/pool.js';
import type { Config } from '../../infra/config.js';
import { failed, fromError, ok, skipped, unreachable, within, type Check } from './checks.js';

const PART = 'PostgreSQL';
const LIMIT_MS = 8_000;
const LEAST_VERSION = 14;

export async function checkCatalog({ postgresUrl, sealingKey }: Config): Promise<Check[]> {
  const why = 'PostgreSQL is not reached';
  if (postgresUrl === undefined) {
    const none = unreachable(
      PART,
      'none is configured',
      'Set DATABASE_URL, or start `longshore dev` in this folder.',
    );
    return [none, skipped('Schema', why), checkSealing(sealingKey)];
  }
  let pool: Pool | undefined;
  try {
    pool = createPool(postgresUrl, { max: 1, applicationName: 'longshore-doctor' });
    const reached = await within(LIMIT_MS, PART, checkServer(pool, new URL(postgresUrl)));
    const schema = await within(LIMIT_MS, PART, checkSchema(pool));
    return [reached, schema, checkSealing(sealingKey)];
  } catch (error) {
    return [fromError(PART, error, fixOf(error)), skipped('Schema', why), checkSealing(sealingKey)];
  } finally {
    await pool?.end();
  }
}

/** The table's hint for a server that is away points here. */
function fixOf(error: unknown): string | undefined {
  const away = error instanceof LongshoreError && error.code === 'CatalogUnavailable';
  return away ? 'Start it (`longshore dev`), or correct --database-url (DATABASE_URL).' : undefined;
}

async function checkServer(pool: Pool, address: URL): Promise<Check> {
  const { rows } = await query<{ version: string; number: number }>(pool, 'doctor', {
    text: `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number`,
  });
  const { version = '?', number = 0 } = rows[0] ?? {};
  const said = `${address.hostname}${address.port === '' ? '' : `:${address.port}`}${address.pathname}, version ${version}`;
  if (number >= LEAST_VERSION * 10_000) return ok(PART, said);
  return failed(PART, said, `Use PostgreSQL ${LEAST_VERSION} or newer.`);
}

async function checkSchema(pool: Pool): Promise<Check> {
  const [found, known] = [await schemaVersion(pool), loadMigrations().length];
  if (found === known) return ok('Schema', `version ${found}`);
  const said = `version ${found}; this Longshore has ${known}`;
  return failed('Schema', said, found < known ? 'Run `longshore migrate`.' : 'Upgrade this Longshore.');
}

function checkSealing(sealingKey: string | undefined): Check {
  const part = 'Sealing key';
  if (sealingKey !== undefined) return ok(part, 'set');
  return {
    ...{
      part,
      status: 'warning',
      detail: 'not set: addresses with a query or a password cannot be uploaded',
    },
    ...{
      fix: 'Set LONGSHORE_SEALING_KEY to 32 random bytes in base64 (`openssl rand -base64 32`).',
      code: null,
    },
  };
}
