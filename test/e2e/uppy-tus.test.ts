/** Uppy with tus in a real browser: its connection is reset, its page reloaded, and the upload goes on. */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { Browser, Page as BrowserPage } from 'playwright-core';
import { MiB } from '../../src/core/limits.js';
import { listSessions, type SessionRow } from '../../src/infra/catalog/sessions.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import { startTestApi } from '../helpers/api.js';
import type { TestBucket } from '../helpers/buckets.js';
import { uppyPage } from '../helpers/uppy-page.js';
import { launchChromium, servePage, type Page } from '../helpers/chromium.js';
import { faults } from '../helpers/faults.js';
import { objectSha256 } from '../helpers/rig.js';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.js';
import { eventually } from '../helpers/wait.js';

const PAGE = uppyPage(
  `import Tus from '@uppy/tus';`,
  `
uppy.use(Tus, {
  endpoint: asked.get('api') + '/files/',
  retryDelays: [100, 500, 1000, 3000],
  onAfterResponse: (request, response) => {
    seen.answers.push([request.getMethod(), response.getStatus(), response.getHeader('Upload-Offset')].join(' '));
  },
});`,
);

interface Seen {
  restored: boolean;
  complete: number;
  errors: string[];
  /** Method, status and offset of each answer. */
  answers: string[];
}

const seenOn = (tab: BrowserPage): Promise<Seen> => tab.evaluate<Seen>('seen');

let bench: ApiBench;
let page: Page;
let browser: Browser;

beforeAll(async () => {
  [bench, page, browser] = await Promise.all([startApiBench(), servePage(PAGE), launchChromium()]);
}, 900_000);
afterAll(async () => {
  await browser.close();
  await page.close();
  await bench.close();
});

/** An API for pages of ours, behind a cable that can be pulled, and a tab. */
async function scene(): Promise<{ bucket: TestBucket; tab: BrowserPage; cable: TcpProxy }> {
  const { rig } = bench;
  const bucket = await rig.bucket();
  const env = { LONGSHORE_API_ORIGINS: page.origin, LONGSHORE_SESSION_BUCKET: bucket.name };
  const api = await startTestApi(rig.surroundings, { env });
  onTestFinished(() => api.close());
  const { hostname, port } = new URL(api.url);
  const cable = await startTcpProxy(hostname, Number(port));
  onTestFinished(() => cable.close());
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  const tab = await context.newPage();
  await tab.goto(`${page.url}?${new URLSearchParams({ api: `http://${cable.address}` }).toString()}`);
  return { bucket, tab, cable };
}

async function sessionIn(bucket: TestBucket): Promise<SessionRow> {
  const { rows } = await listSessions(bench.db, { bucket: bucket.name, limit: 10 });
  expect(rows).toHaveLength(1);
  return rows[0] as SessionRow;
}

async function complete(tab: BrowserPage): Promise<Seen> {
  await tab.waitForFunction('seen.complete === 1 || seen.errors.length > 0', undefined, { timeout: 240_000 });
  const seen = await seenOn(tab);
  expect(seen.errors).toEqual([]);
  return seen;
}

test('200 MiB go on after a reset and a reloaded page, no finished part again', async () => {
  const { rig } = bench;
  const { bucket, tab, cable } = await scene();
  const size = 200 * MiB;
  const sha256 = await tab.evaluate<string>(`add('big film ü.bin', ${size})`);
  const parts = () => rig.proxy.parts({ bucket: bucket.name });
  // Slow enough to be cut in the middle.
  rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(50 * MiB));
  await tab.evaluate('start()');
  await eventually(() => parts().size >= 8, { timeout: 120_000, what: '8 parts on their way' });
  await cable.down();
  await cable.up();
  await eventually(() => parts().size >= 16, { timeout: 120_000, what: '16 parts on their way' });
  expect((await seenOn(tab)).answers.some((answer) => answer.startsWith('HEAD 200'))).toBe(true);
  await tab.reload();
  await tab.waitForFunction(
    'seen.restored && uppy.getFiles().length === 1 && uppy.getFiles()[0].data',
    undefined,
    {
      timeout: 60_000,
    },
  );
  await tab.evaluate('goOn()');
  const seen = await complete(tab);

  const [, resumed = ''] =
    /^HEAD 200 (\d+)/.exec(seen.answers.find((each) => each.startsWith('HEAD')) ?? '') ?? [];
  expect(Number(resumed)).toBeGreaterThanOrEqual(15 * 8 * MiB);
  const row = await sessionIn(bucket);
  expect(row).toMatchObject({
    state: 'COMPLETED',
    size,
    name: 'big film ü.bin',
    contentType: 'application/x-test',
  });
  expect(await objectSha256(bucket, row.key)).toBe(sha256);
  expect([...parts().values()].map(({ count }) => count)).toEqual(Array<number>(25).fill(1));
});

test('a file smaller than a part', async () => {
  const { bucket, tab } = await scene();
  const sha256 = await tab.evaluate<string>(`add('small.bin', 1000)`);
  await tab.evaluate('start()');
  await complete(tab);
  const row = await sessionIn(bucket);
  expect(row).toMatchObject({ state: 'COMPLETED', size: 1000, verification: 'full' });
  expect(await objectSha256(bucket, row.key)).toBe(sha256);
});
