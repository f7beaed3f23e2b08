/** Connections to PostgreSQL, and the one way its failures become ours. */
import pg from 'pg';
import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import { catalogError } from './errors.js';
import { LongshoreError } from '../../core/errors.js';

export type { Pool, PoolClient } from 'pg';
export { catalogError } from './errors.js';

export interface Statement {
  text: string;
  values?: unknown[];
  /** A named statement is prepared once per connection. */
  name?: string;
  /** Client-side limit in ms, instead of the pool's. */
  query_timeout?: number;
}

/** A pool, one of its clients, or a transaction. */
export interface Queryable {
  query<R extends QueryResultRow>(statement: Statement): Promise<QueryResult<R>>;
}

export interface PoolOptions {
  /** Connections at most; default 10. */
  max?: number;
  /** Shown in pg_stat_activity. */
  applicationName?: string;
  /** Namespace of the tables; default: what the connection's search_path says. */
  schema?: string;
  /** Told of connections that die while nobody waits for them; the pool has replaced them already. */
  onConnectionError?: (error: Error) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** Longer than the server's own limit: it counts only when the server is gone without a word. */
const READ_TIMEOUT_MS = 35_000;
/** A process that stands still in a transaction keeps its locks: others wait for it this long. */
const IDLE_IN_TRANSACTION_MS = 20_000;

const SCHEMA_NAME = /^[a-z_][a-z0-9_]{0,62}$/;

/** Connects at the first query, and again after every failure. Throws InvalidConfig for an address that is none. */
export function createPool(url: string, options: PoolOptions = {}): Pool {
  const pool = new pg.Pool({
    connectionString: withSchema(url, options.schema),
    // Without a value pg would look into the environment, which only the configuration reads.
    ssl: false,
    max: options.max ?? 10,
    application_name: options.applicationName ?? 'longshore',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: READ_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  const tell = options.onConnectionError ?? ignoreConnectionError;
  const report = (error: Error): void => {
    // pg hangs the client on it, password included; whoever prints the error would print that too.
    Reflect.deleteProperty(error, 'client');
    tell(error);
  };
  // An 'error' event without a listener ends the process: the pool's for idle clients, the client's own while it is lent.
  pool.on('error', report);
  pool.on('connect', (client) => client.on('error', report));
  return pool;
}

/** The failure is not lost: the pool drops the connection, and whoever is using it gets the error from its query. */
function ignoreConnectionError(): void {}

export function checkSchemaName(schema: string): string {
  if (SCHEMA_NAME.test(schema)) return schema;
  throw new LongshoreError(
    'InvalidConfig',
    `"${schema}" is not a schema name of small letters, digits and _`,
    {
      op: 'connect',
    },
  );
}

function withSchema(url: string, schema: string | undefined): string {
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new LongshoreError('InvalidConfig', 'the address of PostgreSQL must begin with postgres://', {
      op: 'connect',
      hint: 'Set DATABASE_URL to postgres://user:password@host:5432/database.',
    });
  }
  if (schema === undefined) return url;
  const address = new URL(url);
  const given = address.searchParams.get('options');
  const path = `-c search_path=${checkSchemaName(schema)}`;
  address.searchParams.set('options', given === null ? path : `${given} ${path}`);
  return address.href;
}

/** Runs one statement; throws what `catalogError` makes of its failure. */
export async function query<R extends QueryResultRow>(
  db: Queryable,
  op: string,
  statement: Statement,
): Promise<QueryResult<R>> {
  try {
    return await db.query<R>(statement);
  } catch (error) {
    throw catalogError(error, op);
  }
}

/**
 * Runs `work` in a transaction: committed when it returns, rolled back when it throws. A lost answer to COMMIT leaves
 * the outcome unknown, so the work must bear repetition.
 */
export async function transaction<T>(
  pool: Pool,
  op: string,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  let client: PoolClient;
  try {
    client = await pool.connect();
  } catch (error) {
    throw catalogError(error, op);
  }
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    broken = await rollback(client);
    throw catalogError(error, op);
  } finally {
    // A connection that could not roll back is closed rather than lent again.
    client.release(broken);
  }
}

async function rollback(client: PoolClient): Promise<Error | undefined> {
  try {
    await client.query('ROLLBACK');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
