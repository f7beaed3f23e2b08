/**
 * Uppy in a real browser, with nothing of ours but the API’s address: bytes go straight to MinIO, through a proxy that
 * breaks connections and counts what is sent.
 */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { Browser, Page as BrowserPage } from 'playwright-core';
import { MiB } from '../../src/core/limits.js';
import { getSession, listSessions, type SessionRow } from '../../src/infra/catalog/sessions.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { startTestApi, type TestApi } from '../helpers/api.js';
import type { TestBucket } from '../helpers/buckets.js';
import { launchChromium, servePage, type Page } from '../helpers/chromium.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf } from '../helpers/sessions-api.js';
import { uppyPage } from '../helpers/uppy-page.js';
import { eventually } from '../helpers/wait.js';

const PAGE = uppyPage(
  `import AwsS3 from '@uppy/aws-s3';`,
  `
uppy.use(AwsS3, { companionEndpoint: asked.get('api') });
uppy.on('s3-multipart:part-uploaded', (_file, part) => { seen.parts.push(part.PartNumber); });`,
);

interface Seen {
  restored: boolean;
  complete: number;
  errors: string[];
  parts: number[];
}

const seenOn = (page: BrowserPage): Promise<Seen> => page.evaluate<Seen>('seen');

let rig: Rig;
let page: Page;
let browser: Browser;
let db: Pool;

beforeAll(async () => {
  [rig, page, browser] = await Promise.all([
    startRig({ server: 'minio' }),
    servePage(PAGE),
    launchChromium(),
  ]);
  db = catalogOf(rig);
}, 900_000);
afterAll(async () => {
  await browser.close();
  await page.close();
  await db.end();
  await rig.close();
});

interface Scene {
  api: TestApi;
  bucket: TestBucket;
  tab: BrowserPage;
}

async function scene(): Promise<Scene> {
  const bucket = await rig.bucket();
  const env = { LONGSHORE_API_ORIGINS: page.origin, LONGSHORE_SESSION_BUCKET: bucket.name };
  const api = await startTestApi(rig.surroundings, { env });
  onTestFinished(() => api.close());
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  const tab = await context.newPage();
  await tab.goto(`${page.url}?${new URLSearchParams({ api: api.url }).toString()}`);
  return { api, bucket, tab };
}

async function sessionIn(bucket: TestBucket): Promise<SessionRow> {
  const { rows } = await listSessions(db, { bucket: bucket.name, limit: 10 });
  expect(rows).toHaveLength(1);
  return rows[0] as SessionRow;
}

/** Waits until it has ended. */
async function ended(id: string): Promise<SessionRow> {
  return await eventually(
    async () => {
      const row = await getSession(db, id);
      return row?.endedAt === null ? undefined : row;
    },
    { timeout: 60_000, what: `the end of session ${id}` },
  );
}

/** By part number, how many requests for it S3 answered with success. */
function accepted(bucket: TestBucket): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { op, part, status, bucket: name } of rig.proxy.log) {
    if (op !== 'UploadPart' || name !== bucket.name || status !== 200 || part === undefined) continue;
    counts.set(part, (counts.get(part) ?? 0) + 1);
  }
  return counts;
}

const PART = 5 * MiB;

test('200 MiB go on after a broken connection and a reloaded page, no finished part again', async () => {
  const { bucket, tab } = await scene();
  const size = 200 * MiB;
  const sha256 = await tab.evaluate<string>(`add('big film.bin', ${size})`);
  rig.proxy.fault(
    { op: 'UploadPart', bucket: bucket.name, part: 8, times: 1 },
    { kind: 'reset', afterBytes: 2 * MiB },
  );
  // Slow enough that the page is reloaded while a part is on its way.
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, { kind: 'bandwidth', bytesPerSecond: 60 * MiB });
  await tab.evaluate('start()');
  await eventually(() => accepted(bucket).size >= 18, { timeout: 120_000, what: '18 parts in S3' });
  const before = await sessionIn(bucket);
  expect(before).toMatchObject({ mode: 'chunks', state: 'UPLOADING' });
  await tab.reload();
  await tab.waitForFunction(
    'seen.restored && uppy.getFiles().length === 1 && uppy.getFiles()[0].data',
    undefined,
    {
      timeout: 60_000,
    },
  );
  expect((await seenOn(tab)).parts).toEqual([]);
  await tab.evaluate('goOn()');
  await tab.waitForFunction('seen.complete === 1 || seen.errors.length > 0', undefined, { timeout: 240_000 });
  expect((await seenOn(tab)).errors).toEqual([]);

  const after = await ended(before.id);
  expect(after).toMatchObject({ state: 'COMPLETED', size, parts: size / PART, verification: 'size' });
  expect(after.generation).toBe(before.generation);
  expect(await objectSha256(bucket, after.key)).toBe(sha256);
  const counts = accepted(bucket);
  expect(counts.size).toBe(size / PART);
  expect([...counts.values()].filter((count) => count !== 1)).toEqual([]);
  // One broken in the middle, and one that was on its way when the page went.
  const sent = [...rig.proxy.parts({ bucket: bucket.name }).values()].reduce(
    (sum, { bytes }) => sum + bytes,
    0,
  );
  expect(sent - size).toBeLessThanOrEqual(2 * PART);
  expect(sent).toBeGreaterThan(size);
});

test('20 MiB go in one form, and the session ends though nobody says so', async () => {
  const { bucket, tab } = await scene();
  const size = 20 * MiB;
  const sha256 = await tab.evaluate<string>(`add('kleines Bild ü.bin', ${size})`);
  await tab.evaluate('start()');
  await tab.waitForFunction('seen.complete === 1 || seen.errors.length > 0', undefined, { timeout: 60_000 });
  expect((await seenOn(tab)).errors).toEqual([]);
  const row = await sessionIn(bucket);
  expect(row.mode).toBe('whole');
  const after = await ended(row.id);
  expect(after).toMatchObject({ state: 'COMPLETED', size, verification: 'size' });
  expect(after.name).toBe('kleines Bild ü.bin');
  expect(await objectSha256(bucket, after.key)).toBe(sha256);
  expect(accepted(bucket).size).toBe(0);
});
