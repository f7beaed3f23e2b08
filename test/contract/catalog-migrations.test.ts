import { afterEach, beforeEach, expect, test } from 'vitest';
import { assertSchema, loadMigrations, migrate, schemaVersion } from '../../src/infra/catalog/migrations.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
});
afterEach(() => db.drop());

const newest = loadMigrations().length;
const all = loadMigrations().map(({ version }) => version);

test('applies every file once, and nothing at the second call', async () => {
  expect(await schemaVersion(db.pool)).toBe(0);
  expect(await migrate(db.pool)).toEqual({ applied: all, version: newest });
  expect(await migrate(db.pool)).toEqual({ applied: [], version: newest });
  expect(await schemaVersion(db.pool)).toBe(newest);
  await expect(assertSchema(db.pool)).resolves.toBeUndefined();
});

test('two that start at once share the work', async () => {
  const answers = await Promise.all([db.pool, db.another(), db.another()].map((pool) => migrate(pool)));
  expect(answers.flatMap(({ applied }) => applied).sort()).toEqual(all);
  expect(answers.map(({ version }) => version)).toEqual([newest, newest, newest]);
});

test('makes the schema it is told', async () => {
  const schema = `${db.schema}_x`;
  await migrate(db.pool, { schema });
  const { rows } = await db.pool.query('SELECT tablename FROM pg_tables WHERE schemaname = $1', [schema]);
  await db.pool.query(`DROP SCHEMA "${schema}" CASCADE`);
  expect(rows.map(({ tablename }) => tablename as string)).toEqual(
    expect.arrayContaining([
      'longshore_migrations',
      'object_uploads',
      'sealed_values',
      'upload_jobs',
      'files',
    ]),
  );
  expect(await schemaVersion(db.pool)).toBe(0);
});

test('refuses a newer schema, to migrate and to work on', async () => {
  await migrate(db.pool);
  await db.pool.query('INSERT INTO longshore_migrations (version, name, checksum) VALUES ($1, $2, $3)', [
    newest + 1,
    'from-the-future.sql',
    'x',
  ]);
  await expect(migrate(db.pool)).rejects.toMatchObject({ code: 'SchemaTooNew' });
  await expect(assertSchema(db.pool)).rejects.toMatchObject({ code: 'SchemaTooNew' });
});

test('refuses an applied migration that was edited, and names it', async () => {
  await migrate(db.pool);
  const edited = loadMigrations().map((each) => (each.version === 1 ? { ...each, checksum: 'other' } : each));
  await expect(migrate(db.pool, { migrations: edited })).rejects.toMatchObject({
    code: 'InvalidConfig',
    key: '0001-uploads.sql',
  });
});

test('an older schema is named with its cure', async () => {
  await migrate(db.pool, { migrations: loadMigrations().slice(0, 1) });
  await expect(assertSchema(db.pool)).rejects.toMatchObject({
    code: 'InvalidConfig',
    hint: 'Run `longshore migrate`.',
  });
  expect(await migrate(db.pool)).toEqual({ applied: all.slice(1), version: newest });
});

test('a migration that fails leaves nothing of itself, and keeps those before it', async () => {
  const broken = {
    version: 2,
    name: '0002-broken.sql',
    sql: 'CREATE TABLE half (id int); SELECT nonsense',
    checksum: 'x',
  };
  const migrations = [...loadMigrations().slice(0, 1), broken];
  await expect(migrate(db.pool, { migrations })).rejects.toThrow(/nonsense/);
  expect(await schemaVersion(db.pool)).toBe(1);
  const { rows } = await db.pool.query(`SELECT to_regclass('half') AS half`);
  expect(rows).toEqual([{ half: null }]);
});
