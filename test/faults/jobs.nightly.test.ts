/** S3 asks for less during two minutes. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { slowDown } from '../helpers/slow-down.js';

let rig: Rig;
let db: Pool;

beforeAll(async () => {
  rig = await startRig({ worker: false });
  db = createPool(rig.config.postgresUrl ?? '');
});
afterAll(async () => {
  await db.end();
  await rig.close();
});

it('30 % of 503 SlowDown for two minutes: fewer requests at once, then as many as before, and nothing fails', async () => {
  const { before, during, after, refused } = await slowDown(rig, db, { seconds: 120, files: 30_000 });
  console.info(`requests at once: ${[before, during, after].join(', then ')}; ${refused} refused`);
  expect(refused).toBeGreaterThan(500);
  expect(during).toBeLessThan(before / 2);
  expect(after).toBeGreaterThan(0.9 * before);
});
