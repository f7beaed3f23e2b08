import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createPool, query, transaction } from '../../src/infra/catalog/pool.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
});
afterEach(() => db.drop());

const UNAVAILABLE = { code: 'CatalogUnavailable', retry: 'retry' };

describe('connections ended by the server', () => {
  const kill = (name: string) =>
    db.pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
      name,
    ]);
  const busy = (name: string) =>
    vi.waitFor(async () => {
      const { rows } = await db.pool.query(
        `SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'`,
        [name],
      );
      expect(rows).toHaveLength(1);
    });

  test('idle: noticed, replaced, not fatal', async () => {
    const seen: Error[] = [];
    const victim = db.another({
      applicationName: `${db.schema}_v`,
      onConnectionError: (error) => seen.push(error),
    });
    await query(victim, 'test', { text: 'SELECT 1' });
    await kill(`${db.schema}_v`);
    await vi.waitFor(() => expect(seen).not.toHaveLength(0));
    expect(seen.filter((error) => 'client' in error)).toEqual([]);
    expect((await query(victim, 'test', { text: 'SELECT 1 AS one' })).rows).toEqual([{ one: 1 }]);
  });

  test('in a query: CatalogUnavailable, and the next call works', async () => {
    const victim = db.another({ applicationName: `${db.schema}_v` });
    const running = query(victim, 'test', { text: 'SELECT pg_sleep(30)' });
    const outcome = expect(running).rejects.toMatchObject(UNAVAILABLE);
    await busy(`${db.schema}_v`);
    await kill(`${db.schema}_v`);
    await outcome;
    expect((await query(victim, 'test', { text: 'SELECT 1 AS one' })).rows).toEqual([{ one: 1 }]);
  });

  test('between two statements of a transaction: CatalogUnavailable, nothing written', async () => {
    await db.pool.query('CREATE TABLE t (n int)');
    const victim = db.another({ applicationName: `${db.schema}_v` });
    const work = transaction(victim, 'test', async (client) => {
      await client.query('INSERT INTO t VALUES (1)');
      const ended = new Promise((resolve) => client.once('end', resolve));
      await kill(`${db.schema}_v`);
      await ended;
      await client.query('INSERT INTO t VALUES (2)');
    });
    await expect(work).rejects.toMatchObject(UNAVAILABLE);
    expect((await query(victim, 'test', { text: 'SELECT * FROM t' })).rows).toEqual([]);
  });
});

test('a transaction that throws is rolled back, and its connection serves on', async () => {
  await db.pool.query('CREATE TABLE t (n int)');
  const single = db.another({ max: 1 });
  const work = transaction(single, 'test', async (client) => {
    await client.query('INSERT INTO t VALUES (1)');
    throw new Error('no');
  });
  await expect(work).rejects.toThrow('no');
  expect((await query(single, 'test', { text: 'SELECT * FROM t' })).rows).toEqual([]);
});

test('nobody there', async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const pool = createPool(`postgres://u:p@127.0.0.1:${port}/d`);
  await expect(query(pool, 'test', { text: 'SELECT 1' })).rejects.toMatchObject(UNAVAILABLE);
  await pool.end();
});

test('someone there who never answers', async () => {
  const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const pool = createPool(`postgres://u:p@127.0.0.1:${(silent.address() as AddressInfo).port}/d`);
  await expect(query(pool, 'test', { text: 'SELECT 1' })).rejects.toMatchObject(UNAVAILABLE);
  await pool.end();
  await new Promise((resolve) => silent.close(resolve));
}, 15_000);

test.each([
  ['SELECT * FROM not_there', 'InvalidConfig'],
  [`SET statement_timeout = 1; SELECT pg_sleep(5)`, 'CatalogUnavailable'],
  ['SELECT 1/0', 'Internal'],
])('%s is %s', async (text, code) => {
  const pool = db.another({ max: 1 });
  await expect(query(pool, 'test', { text })).rejects.toMatchObject({ code });
});

test('a database that is not there needs a person', async () => {
  const url = new URL(db.url);
  url.pathname = '/not_there';
  const pool = createPool(url.href);
  await expect(query(pool, 'test', { text: 'SELECT 1' })).rejects.toMatchObject({ code: 'InvalidConfig' });
  await pool.end();
});

test.each(['sqlite:///./data.db', 'localhost'])('refuses the address %s', (url) => {
  expect(() => createPool(url)).toThrow(/postgres:\/\//);
});
