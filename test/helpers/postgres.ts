/** A schema of its own for each test, in the PostgreSQL that the global setup (or LONGSHORE_TEST_STACK) names. */
import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { createPool } from '../../src/infra/catalog/pool.js';
import type { Pool, PoolOptions } from '../../src/infra/catalog/pool.js';

export interface TestSchema {
  pool: Pool;
  schema: string;
  url: string;
  /** Another pool on the same schema, as another process has one; closed by `drop`. */
  another(options?: PoolOptions): Pool;
  drop(): Promise<void>;
}

export function postgresUrl(): string {
  const provided: unknown = inject('stack' as never);
  const stack = (provided ?? parse(process.env['LONGSHORE_TEST_STACK'])) as
    { postgres?: { url?: string } } | undefined;
  const url = stack?.postgres?.url;
  if (url !== undefined) return url;
  throw new Error(
    'no PostgreSQL: run through `npm test`, or give LONGSHORE_TEST_STACK={"postgres":{"url":"postgres://…"}}',
  );
}

function parse(text: string | undefined): unknown {
  return text === undefined || text === '' ? undefined : JSON.parse(text);
}

/** An empty schema; `migrate` it where tables are needed. */
export async function testSchema(url: string = postgresUrl()): Promise<TestSchema> {
  const schema = `t_${randomUUID().replaceAll('-', '')}`;
  const pools: Pool[] = [];
  const another = (options: PoolOptions = {}): Pool => {
    const pool = createPool(url, { max: 4, applicationName: schema, ...options, schema });
    pools.push(pool);
    return pool;
  };
  const pool = another();
  await pool.query(`CREATE SCHEMA "${schema}"`);
  const drop = async (): Promise<void> => {
    await pool.query(`DROP SCHEMA "${schema}" CASCADE`);
    await Promise.all(pools.map((each) => each.end()));
  };
  return { pool, schema, url, another, drop };
}
