import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { deleteJob, setLimits } from '../../src/infra/catalog/jobs.js';
import { dropLease, renewLease } from '../../src/infra/catalog/leases.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { aRun } from '../helpers/catalog-jobs.js';
import { testSchema } from '../helpers/postgres.js';
import type { TestSchema } from '../helpers/postgres.js';
import { eventually } from '../helpers/wait.js';

let db: TestSchema;
let job: number;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  ({ job } = await aRun(db.pool, 'a'));
});
afterEach(() => db.drop());

const [one, two] = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'] as const;

test('counts who holds a lease, and says the limits of the moment', async () => {
  expect(await renewLease(db.pool, job, one, 60_000)).toEqual({
    holders: 1,
    rank: 0,
    bandwidth: null,
    concurrency: null,
  });
  expect(await renewLease(db.pool, job, two, 60_000)).toMatchObject({ holders: 2, rank: 1 });
  await setLimits(db.pool, 'a', { bandwidth: 2 ** 40, concurrency: 7 });
  expect(await renewLease(db.pool, job, one, 60_000)).toEqual({
    holders: 2,
    rank: 0,
    bandwidth: 2 ** 40,
    concurrency: 7,
  });
  await dropLease(db.pool, job, two);
  await dropLease(db.pool, job, two);
  expect((await renewLease(db.pool, job, one, 60_000)).holders).toBe(1);
});

test('who does not renew is not counted any more, and is removed', async () => {
  await renewLease(db.pool, job, two, 200);
  expect((await renewLease(db.pool, job, one, 60_000)).holders).toBe(2);
  await eventually(async () => (await renewLease(db.pool, job, one, 60_000)).holders === 1);
  await db.pool.query(`UPDATE job_leases SET expires_at = now() - interval '2 minutes' WHERE holder = $1`, [
    two,
  ]);
  await renewLease(db.pool, job, one, 60_000);
  const { rows } = await db.pool.query('SELECT holder FROM job_leases');
  expect(rows).toEqual([{ holder: one }]);
});

test('leases of other jobs do not count', async () => {
  const other = await aRun(db.pool, 'b');
  await renewLease(db.pool, other.job, two, 60_000);
  expect((await renewLease(db.pool, job, one, 60_000)).holders).toBe(1);
});

test('a job that was deleted has no limits, and no lease comes back', async () => {
  await setLimits(db.pool, 'a', { bandwidth: 1 });
  await renewLease(db.pool, job, one, 60_000);
  await deleteJob(db.pool, 'a');
  expect(await renewLease(db.pool, job, one, 60_000)).toEqual({
    holders: 1,
    rank: 0,
    bandwidth: null,
    concurrency: null,
  });
});

test('fifty holders at once, with dead ones to clear away', async () => {
  const pool = db.another({ max: 10 });
  await db.pool.query(
    `INSERT INTO job_leases SELECT $1, gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 200)`,
    [job],
  );
  const holders = Array.from({ length: 50 }, () => randomUUID());
  await Promise.all(holders.map((holder) => renewLease(pool, job, holder, 60_000)));
  const shares = await Promise.all(holders.map((holder) => renewLease(pool, job, holder, 60_000)));
  expect(new Set(shares.map((share) => share.holders))).toEqual(new Set([50]));
  expect(new Set(shares.map(({ rank }) => rank)).size).toBe(50);
});
