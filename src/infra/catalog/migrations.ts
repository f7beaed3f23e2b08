/** Forward-only migrations: numbered SQL files, each applied once, in its own transaction with its own row. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LongshoreError } from '../../core/errors.js';
import { MIGRATE_HINT } from './errors.js';
import { checkSchemaName, createPool, query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';

export interface Migration {
  /** From 1, without gaps. */
  version: number;
  /** File name. */
  name: string;
  sql: string;
  /** SHA-256 of the text, hex; line ends do not count. */
  checksum: string;
}

export interface MigrateOptions {
  /** Created when absent; default: where the connection's search_path leads. */
  schema?: string;
  /** Default: the files of this package. */
  migrations?: readonly Migration[];
}

const FILE = /^(\d{4})-[a-z0-9-]+\.sql$/;
/** First half of the advisory lock; the second is the schema's name, so that schemas do not wait for each other. */
const LOCK_CLASS = 0x10a65;
const LOCK_TIMEOUT = '60s';
/** A statement of a migration may take as long as a large table needs. */
const MIGRATION_TIMEOUT_MS = 24 * 3600 * 1000;

/**
 * Brings the tables up to date. Repeating it, also at the same time elsewhere, applies nothing twice. Throws
 * SchemaTooNew when the database is ahead of this package, InvalidConfig when an applied file was edited.
 */
export async function migrate(
  pool: Pool,
  options: MigrateOptions = {},
): Promise<{ applied: number[]; version: number }> {
  const migrations = options.migrations ?? loadMigrations();
  const applied: number[] = [];
  for (;;) {
    const version = await transaction(pool, 'migrate', (client) =>
      applyNext(client, migrations, options.schema),
    );
    if (version === undefined) return { applied, version: migrations.length };
    applied.push(version);
  }
}

/** Applies the first migration that is missing; undefined when there is none. The lock ends with the transaction. */
async function applyNext(
  db: Queryable,
  migrations: readonly Migration[],
  schema: string | undefined,
): Promise<number | undefined> {
  await takeLock(db, schema);
  await db.query({
    text: `CREATE TABLE IF NOT EXISTS longshore_migrations (
      version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
  });
  const { rows } = await db.query<AppliedRow>({
    text: 'SELECT version, name, checksum FROM longshore_migrations ORDER BY version',
  });
  checkApplied(rows, migrations);
  const next = migrations[rows.length];
  if (next === undefined) return undefined;
  await db.query({ text: next.sql, query_timeout: MIGRATION_TIMEOUT_MS });
  await db.query({
    text: 'INSERT INTO longshore_migrations (version, name, checksum) VALUES ($1, $2, $3)',
    values: [next.version, next.name, next.checksum],
  });
  return next.version;
}

async function takeLock(db: Queryable, schema: string | undefined): Promise<void> {
  await db.query({ text: `SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'` });
  await db.query({ text: 'SET LOCAL statement_timeout = 0' });
  await db.query({
    text: `SELECT pg_advisory_xact_lock($1, hashtext(coalesce($2, current_schema(), '')))`,
    values: [LOCK_CLASS, schema ?? null],
    query_timeout: MIGRATION_TIMEOUT_MS,
  });
  if (schema === undefined) return;
  const name = checkSchemaName(schema);
  await db.query({ text: `CREATE SCHEMA IF NOT EXISTS "${name}"` });
  await db.query({ text: `SET LOCAL search_path TO "${name}"` });
}

interface AppliedRow {
  version: number;
  name: string;
  checksum: string;
}

function checkApplied(rows: readonly AppliedRow[], migrations: readonly Migration[]): void {
  const newest = rows.at(-1)?.version ?? 0;
  if (newest > migrations.length) throw tooNew(newest, migrations.length);
  rows.forEach((row, index) => {
    const known = migrations[index];
    if (row.version === known?.version && row.checksum === known.checksum) return;
    throw new LongshoreError(
      'InvalidConfig',
      `migration ${row.name} is not what was applied to this database`,
      {
        op: 'migrate',
        key: row.name,
        hint: 'Applied migrations are never edited: restore the file, and put the change into a new one.',
      },
    );
  });
}

function tooNew(found: number, known: number): LongshoreError {
  return new LongshoreError(
    'SchemaTooNew',
    `the database has schema ${found}, this Longshore knows up to ${known}`,
    {
      op: 'migrate',
    },
  );
}

/** `migrate` over a connection of its own. Throws as it does. */
export async function migrateAt(url: string): Promise<void> {
  const pool = createPool(url, { max: 1, applicationName: 'longshore-migrate' });
  try {
    await migrate(pool);
  } finally {
    await pool.end();
  }
}

/** Version of the tables; 0 when there are none. */
export async function schemaVersion(db: Queryable): Promise<number> {
  const { rows: there } = await query<{ known: boolean }>(db, 'schemaVersion', {
    text: `SELECT to_regclass('longshore_migrations') IS NOT NULL AS known`,
  });
  if (there[0]?.known !== true) return 0;
  const { rows } = await query<{ version: number }>(db, 'schemaVersion', {
    text: 'SELECT coalesce(max(version), 0) AS version FROM longshore_migrations',
  });
  return rows[0]?.version ?? 0;
}

/** Throws unless the tables are exactly those of this package: InvalidConfig when older, SchemaTooNew when newer. */
export async function assertSchema(db: Queryable): Promise<void> {
  const [found, known] = [await schemaVersion(db), loadMigrations().length];
  if (found > known) throw tooNew(found, known);
  if (found === known) return;
  throw new LongshoreError(
    'InvalidConfig',
    `the database has schema ${found}, this Longshore needs ${known}`,
    {
      op: 'assertSchema',
      hint: MIGRATE_HINT,
    },
  );
}

/** The files in `folder`, by default those of this package, in order. */
export function loadMigrations(folder: string = migrationsFolder()): Migration[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.sql'));
  return names.sort().map((name, index) => {
    const version = Number(FILE.exec(name)?.[1]);
    if (version !== index + 1) {
      throw new LongshoreError('InvalidConfig', `migrations/${name} should be number ${index + 1}`, {
        op: 'migrate',
        key: name,
      });
    }
    const sql = readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n');
    return { version, name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
  });
}

/** Source and bundle lie at different depths, so the way goes up to the root of this package, and never past it. */
function migrationsFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  const found = join(folder, 'migrations');
  if (existsSync(found)) return found;
  throw new LongshoreError('InvalidConfig', `the folder migrations is missing from ${folder}`, {
    op: 'migrate',
    hint: 'Install the package again; its migrations belong beside its package.json.',
  });
}
