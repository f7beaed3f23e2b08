/** Sessions, their parts and their nodes in the catalog: who may write, and what an end leaves. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mustBeIdle } from '../../src/client/idle-node.js';
import type { UploadReport } from '../../src/core/uploads.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { getNode, listNodes } from '../../src/infra/catalog/nodes.js';
import type { Queryable } from '../../src/infra/catalog/pool.js';
import {
  claimPart,
  createPartWriter,
  readParts,
  sessionProgress,
  takeBackParts,
  vouchParts,
  whyUnsettled,
  type SettledPart,
} from '../../src/infra/catalog/session-parts.js';
import {
  expireSession,
  getSession,
  listSessions,
  markBegun,
  writtenUpload,
  openSession,
  setOpen,
  touchSession,
  type OpeningSession,
} from '../../src/infra/catalog/sessions.js';
import { letPutGo, putsLeft, type ClaimedPut } from '../../src/infra/catalog/session-puts.js';
import { reportUpload } from '../../src/infra/catalog/uploads.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

const RUN = '2026-01-01T00:00:00.000Z';
const NEXT_RUN = '2026-01-01T00:00:01.000Z';

function opening(change: Partial<OpeningSession> = {}): OpeningSession {
  const { id = 's' } = change;
  return {
    id,
    source: { kind: 'client', name: 'a\0.bin', nodeId: id, mode: 'chunks', ttlMs: 60_000 },
    destination: { bucket: 'b', key: `k/${id}` },
    contentType: 'a/b',
    metadata: { one: 'two' },
    chunkSize: 10,
    expectedSize: null,
    encryption: null,
    apiKey: null,
    s3UploadId: `mpu-${randomUUID()}`,
    token: { uploadId: `upload/${id}`, nonce: randomUUID() },
    runId: change.runStartedAt === NEXT_RUN ? 'next' : 'run',
    runStartedAt: RUN,
    runGeneration: 1,
    ...change,
  };
}

const open = (change: Partial<OpeningSession> = {}) => openSession(db.pool, opening(change));
const row = async (id = 's') => {
  const found = await getSession(db.pool, id);
  if (found === undefined) throw new Error('no session');
  return found;
};
const part = (change: Partial<SettledPart> = {}): SettledPart => ({
  ...{ session: 's', generation: 1, partNumber: 1, claim: 1, etag: '"e"', size: 10 },
  crc32: Buffer.from([1, 2, 3, 4]),
  ...change,
});
const settle = async (...parts: SettledPart[]): Promise<boolean[]> => {
  const writer = createPartWriter(db.pool);
  const settled = await Promise.all(parts.map((one) => writer.settle(one)));
  await writer.close();
  return settled;
};
const claim = (change: { session?: string; generation?: number; partNumber?: number } = {}) =>
  claimPart(db.pool, { session: 's', generation: 1, partNumber: 1, ...change });
const report = (change: Partial<UploadReport>) =>
  reportUpload(db.pool, 'inst', {
    ...{ id: 's', workflowId: 'upload/s', runId: 'run', runStartedAt: RUN, sequence: 1, state: 'PENDING' },
    destination: { bucket: 'b', key: 'k/s' },
    source: { kind: 'client', label: 'client:a' },
    ...change,
  });
const result = {
  ...{ bucket: 'b', key: 'k/s', size: 20, etag: '"whole"', versionId: 'v1', checksum: 'crc32:AAAAAA==' },
  ...{ verification: 'full' as const, bytesSent: 20, parts: 2, generations: 1 },
};

describe('opening', () => {
  test('says what is taken, and repeating it changes nothing', async () => {
    const one = opening({
      encryption: { type: 'SSE_KMS', kmsKeyId: 'key' },
      expectedSize: 25,
      apiKey: 'ak',
      checksums: false,
    });
    expect(await openSession(db.pool, one)).toEqual({ generation: 1, s3UploadId: one.s3UploadId });
    expect(await row()).toMatchObject({
      ...{ name: 'a\uFFFD.bin', contentType: 'a/b', metadata: { one: 'two' }, bucket: 'b', key: 'k/s' },
      ...{ mode: 'chunks', chunkSize: 10, expectedSize: 25, s3UploadId: one.s3UploadId, generation: 1 },
      ...{
        nonce: one.token.nonce,
        checksums: false,
        open: true,
        begun: false,
        ttlMs: 60_000,
        endedAt: null,
        apiKey: 'ak',
      },
      ...{ encryption: { type: 'SSE_KMS', kmsKeyId: 'key' }, state: 'PENDING', failure: null, size: null },
    });
    const { touchedAt, expiresAt } = await row();
    expect(Date.parse(expiresAt) - Date.parse(touchedAt)).toBe(60_000);
    await claim();
    await setOpen(db.pool, { id: 's', generation: 1, turn: 1 }, false);
    expect(await openSession(db.pool, one)).toEqual({ generation: 1, s3UploadId: one.s3UploadId });
    // Somebody closed it meanwhile, and that stands.
    expect(await row()).toMatchObject({ open: false });
    expect(await readParts(db.pool, 's', 1, { limit: 9 })).toHaveLength(1);
  });

  test('anew begins without the parts of before, and fences what comes late', async () => {
    const first = opening();
    await openSession(db.pool, first);
    await claim();
    await settle(part());
    expect(await open({ runGeneration: 2 })).toMatchObject({ generation: 2 });
    expect(await sessionProgress(db.pool, 's', 2)).toEqual({ parts: 0, bytes: 0 });
    const late = openSession(db.pool, { ...first, token: { ...first.token, nonce: 'late' } });
    await expect(late).rejects.toMatchObject({ code: 'AttemptFenced' });
    await expect(claim()).rejects.toMatchObject({ code: 'NoSuchUpload' });
    expect(await claim({ generation: 2 })).toBe(1);
    expect(await settle(part())).toEqual([false]);
  });

  test('by a new run of the same id counts on, and opens what had ended', async () => {
    await open();
    await markBegun(db.pool, 's');
    expect(await open({ runGeneration: 2 })).toMatchObject({ generation: 2 });
    expect(await row()).toMatchObject({ begun: true });
    await report({ state: 'CANCELLED' });
    // An attempt of the run that has ended, which wakes late.
    await expect(open({ runGeneration: 3 })).rejects.toMatchObject({ code: 'AttemptFenced' });
    const earlier = '2025-12-31T00:00:00.000Z';
    const late = open({ id: 's', runId: 'earlier', runStartedAt: earlier });
    await expect(late).rejects.toMatchObject({ code: 'AttemptFenced' });
    expect(await open({ runStartedAt: NEXT_RUN })).toMatchObject({ generation: 3 });
    // Its workflow has heard of no chunk yet.
    expect(await row()).toMatchObject({ open: true, endedAt: null, begun: false });
    expect(await getNode(db.pool, 's')).toMatchObject({ status: 'PENDING' });
  });

  test('two at once make one generation, with the multipart upload of the first', async () => {
    const one = opening();
    const late = { ...one, s3UploadId: 'another' };
    const [first, second] = await Promise.all([openSession(db.pool, one), openSession(db.pool, late)]);
    expect(first).toEqual(second);
    expect(first).toMatchObject({ generation: 1 });
    expect(await row()).toMatchObject({ s3UploadId: first.s3UploadId });
    const written = { id: 's', token: one.token, runId: 'run', sequence: 2 };
    expect(await writtenUpload(db.pool, written)).toBe(first.s3UploadId);
    expect(await writtenUpload(db.pool, { ...written, token: { ...one.token, nonce: 'x' } })).toBeUndefined();
  });
});

describe('claims', () => {
  test('rise, and only the newest may settle; what was known stays until then', async () => {
    await open();
    expect(await claim()).toBe(1);
    expect(await settle(part({ etag: '"one"' }))).toEqual([true]);
    expect(await claim()).toBe(2);
    expect(await claim()).toBe(3);
    expect(await readParts(db.pool, 's', 1, { limit: 9 })).toMatchObject([{ etag: '"one"', size: 10 }]);
    expect(
      await settle(part({ claim: 2, etag: '"two"' }), part({ claim: 3, etag: '"three"', size: 9 })),
    ).toEqual([false, true]);
    expect(await readParts(db.pool, 's', 1, { limit: 9 })).toEqual([
      { partNumber: 1, etag: '"three"', crc32: Buffer.from([1, 2, 3, 4]), size: 9, vouched: false, claim: 3 },
    ]);
    // Safe to repeat.
    expect(await settle(part({ claim: 3, etag: '"three"', size: 9 }))).toEqual([true]);
  });

  test('that S3 contradicts are acknowledged no more, unless a newer request came', async () => {
    await open();
    for (const partNumber of [1, 2, 3]) await claim({ partNumber });
    await settle(...[1, 2, 3].map((partNumber) => part({ partNumber })));
    const seen = await readParts(db.pool, 's', 1, { limit: 9 });
    await claim({ partNumber: 2 });
    await settle(part({ partNumber: 3, etag: '"newer"' }));
    await takeBackParts(db.pool, 's', 1, seen);
    await takeBackParts(db.pool, 's', 1, seen);
    expect(await readParts(db.pool, 's', 1, { limit: 9 })).toMatchObject([
      { partNumber: 1, etag: null, crc32: null, size: null },
      { partNumber: 2, etag: '"e"' },
      { partNumber: 3, etag: '"newer"' },
    ]);
    expect(await sessionProgress(db.pool, 's', 1)).toMatchObject({ parts: 2 });
  });

  test('say why they were not settled: by a newer one, or by what the session came to', async () => {
    await open();
    const one = { session: 's', generation: 1, partNumber: 1 };
    expect(await whyUnsettled(db.pool, one)).toBeUndefined();
    expect(await whyUnsettled(db.pool, { ...one, generation: 7 })).toMatchObject({ code: 'NoSuchUpload' });
    await setOpen(db.pool, { id: 's', generation: 1, turn: 1 }, false);
    expect(await whyUnsettled(db.pool, one)).toMatchObject({ code: 'NotRunning' });
    await db.pool.query(`UPDATE sessions SET touched_at = now() - interval '2 days'`);
    expect(await whyUnsettled(db.pool, one)).toMatchObject({ code: 'SessionExpired' });
  });

  test('of many at once are all different', async () => {
    await open();
    const other = db.another();
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        claimPart(at % 2 === 0 ? db.pool : other, { session: 's', generation: 1, partNumber: 1 }),
      ),
    );
    expect(claims.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
  });

  test('are refused by the reason why the session takes none', async () => {
    await expect(claim()).rejects.toMatchObject({ code: 'NotFound' });
    await open();
    expect(await claim()).toBe(1);
    await setOpen(db.pool, { id: 's', generation: 1, turn: 1 }, false);
    await expect(claim()).rejects.toMatchObject({ code: 'NotRunning' });
    // What is completed meanwhile is completed without it, so it must not be acknowledged.
    expect(await settle(part())).toEqual([false]);
    await setOpen(db.pool, { id: 's', generation: 1, turn: 2 }, true);
    expect(await settle(part())).toEqual([true]);
    // News of another generation changes nothing.
    await setOpen(db.pool, { id: 's', generation: 2, turn: 3 }, false);
    expect(await claim()).toBe(2);
    await report({ state: 'EXPIRED' });
    await expect(claim()).rejects.toMatchObject({ code: 'SessionExpired' });
    await report({ state: 'FAILED', runStartedAt: NEXT_RUN, runId: 'next' });
    await expect(claim()).rejects.toMatchObject({ code: 'NotRunning' });
    await expect(vouchParts(db.pool, 's', 1, [{ partNumber: 1, etag: 'e' }])).rejects.toMatchObject({
      code: 'NotRunning',
    });
  });
});

describe('closing and opening again', () => {
  const turn = (at: { turn: number; step?: number; generation?: number }, to: boolean) =>
    setOpen(db.pool, { id: 's', generation: 1, ...at }, to);
  const isOpen = async () => (await row()).open;

  test('have an order, and what comes late changes nothing', async () => {
    await open();
    await turn({ turn: 1 }, false);
    await turn({ turn: 2 }, true);
    const { touchedAt } = await row();
    await turn({ turn: 1 }, false);
    await turn({ turn: 2 }, false);
    expect(await row()).toMatchObject({ open: true, touchedAt });
    // Attempts of one turn have theirs.
    await turn({ turn: 3, step: 2 }, false);
    await turn({ turn: 3, step: 3 }, true);
    await turn({ turn: 3, step: 0 }, false);
    expect(await isOpen()).toBe(true);
    await turn({ turn: 4 }, false);
    await turn({ turn: 3, step: 5 }, true);
    expect(await isOpen()).toBe(false);
  });

  test('begin anew with the next generation, and those of the last one are over', async () => {
    await open();
    await turn({ turn: 9 }, false);
    await open({ runStartedAt: NEXT_RUN });
    await turn({ turn: 10 }, false);
    expect(await isOpen()).toBe(true);
    await turn({ turn: 1, generation: 2 }, false);
    expect(await isOpen()).toBe(false);
  });
});

describe('whole objects', () => {
  const go = (change: Partial<ClaimedPut> = {}, ms = 60_000) =>
    letPutGo(db.pool, { session: 's', generation: 1, partNumber: 1, claim: 1, ...change }, ms);
  const close = (turn: number) => setOpen(db.pool, { id: 's', generation: 1, turn }, false);

  test('go to S3 while they are the newest, and the session takes them', async () => {
    await open();
    expect(await go()).toBe(false);
    await claim();
    expect(await go()).toBe(true);
    await claim();
    expect(await go()).toBe(false);
    expect(await go({ claim: 2 })).toBe(true);
    expect(await go({ claim: 2, generation: 2 })).toBe(false);
    await close(1);
    expect(await go({ claim: 2 })).toBe(false);
    expect(await go({ session: 'other' })).toBe(false);
  });

  test('are waited for as long as one that was let go may replace another', async () => {
    expect(await putsLeft(db.pool, 's')).toBe(0);
    await open();
    expect(await putsLeft(db.pool, 's')).toBe(0);
    await claim();
    await go();
    // It is the only one: whatever is seen is that one.
    expect(await putsLeft(db.pool, 's')).toBe(0);
    await claim();
    await go({ claim: 2 }, 1);
    // The first may still come, though the second has less time.
    expect(await putsLeft(db.pool, 's')).toBeGreaterThan(50_000);
    expect(await putsLeft(db.pool, 's')).toBeLessThanOrEqual(60_000);
    await db.pool.query(`UPDATE sessions SET puts_until = now() - interval '1 second'`);
    expect(await putsLeft(db.pool, 's')).toBe(0);
    // One of an earlier run counts too.
    await open({ runStartedAt: NEXT_RUN });
    await claim({ generation: 2 });
    await go({ generation: 2 });
    expect(await putsLeft(db.pool, 's')).toBeGreaterThan(50_000);
  });

  test('are let go before the session closes, or not at all', async () => {
    await open();
    await claim();
    await claim();
    const other = db.another();
    const put = { session: 's', generation: 1, partNumber: 1, claim: 2 };
    const left = async () => {
      await close(1);
      return await putsLeft(db.pool, 's');
    };
    await db.pool.query('UPDATE sessions SET puts = 1');
    const [went, waits] = await Promise.all([letPutGo(other, put, 60_000), left()]);
    expect(went).toBe(waits > 0);
  });
});

describe('the writer of parts', () => {
  /** Counts the statements, and holds the first until it is told. */
  function counting() {
    const seen = { statements: 0, letGo: (): void => undefined };
    const held = new Promise<void>((resolve) => (seen.letGo = resolve));
    const queryable: Queryable = {
      query: async (statement) => {
        if (seen.statements++ === 0) await held;
        return await db.pool.query(statement);
      },
    };
    return { seen, queryable };
  }

  test('lets what comes meanwhile share a commit, in one statement for each five hundred', async () => {
    await open({ id: 's' });
    const numbers = Array.from({ length: 1200 }, (_, at) => at + 1);
    await Promise.all(numbers.map((partNumber) => claim({ partNumber })));
    const { seen, queryable } = counting();
    const writer = createPartWriter(queryable);
    const settled = numbers.map((partNumber) => writer.settle(part({ partNumber })));
    seen.letGo();
    expect(await Promise.all(settled)).toEqual(numbers.map(() => true));
    expect(seen.statements).toBeLessThanOrEqual(4);
    expect(await sessionProgress(db.pool, 's', 1)).toEqual({ parts: 1200, bytes: 12_000 });
    await writer.close();
  });

  test('tells all that shared a statement that failed, and goes on', async () => {
    await open();
    await claim();
    let away = true;
    const broken: Queryable = {
      query: (statement) =>
        away
          ? Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' }))
          : db.pool.query(statement),
    };
    const writer = createPartWriter(broken);
    const failed = await Promise.allSettled([writer.settle(part()), writer.settle(part({ partNumber: 2 }))]);
    expect(failed).toMatchObject([
      { status: 'rejected', reason: { code: 'CatalogUnavailable' } },
      { status: 'rejected', reason: { code: 'CatalogUnavailable' } },
    ]);
    away = false;
    expect(await writer.settle(part())).toBe(true);
    await writer.close();
  });

  test('takes the parts of many sessions at once', async () => {
    await Promise.all(['s1', 's2'].map((id) => open({ id })));
    await Promise.all(['s1', 's2'].map((session) => claim({ session })));
    expect(await settle(part({ session: 's1' }), part({ session: 's2', claim: 7 }))).toEqual([true, false]);
  });
});

describe('parts that a client vouches for', () => {
  test('are kept as such, and supersede what is on its way; the same one stays ours', async () => {
    await open();
    await claim();
    await claim({ partNumber: 2 });
    await settle(part({ etag: '"ours"' }));
    await vouchParts(db.pool, 's', 1, [
      { partNumber: 1, etag: 'ours' },
      { partNumber: 2, etag: '"first"', size: 5 },
      { partNumber: 2, etag: '"last"', size: 6 },
    ]);
    expect(await readParts(db.pool, 's', 1, { limit: 9 })).toMatchObject([
      { partNumber: 1, etag: '"ours"', vouched: false, size: 10 },
      { partNumber: 2, etag: '"last"', vouched: true, size: 6, crc32: null },
    ]);
    expect(await settle(part({ partNumber: 2, claim: 1 }))).toEqual([false]);
  });

  test('are read in pages', async () => {
    await open();
    const parts = Array.from({ length: 5 }, (_, at) => ({ partNumber: at + 1, etag: `"${at}"` }));
    await vouchParts(db.pool, 's', 1, parts);
    const numbers = async (after: number) =>
      (await readParts(db.pool, 's', 1, { after, limit: 3 })).map(({ partNumber }) => partNumber);
    expect([await numbers(0), await numbers(3)]).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });
});

describe('a session’s life', () => {
  test('is as long as it is touched, and no touch brings back what is over', async () => {
    const source = { ...opening().source, ttlMs: 1000 };
    await open({ source });
    expect(await expireSession(db.pool, 's')).toBeGreaterThan(0);
    await db.pool.query(`UPDATE sessions SET touched_at = now() - interval '2 seconds'`);
    await touchSession(db.pool, 's');
    expect(await expireSession(db.pool, 's')).toBeGreaterThan(500);
    expect(await row()).toMatchObject({ open: true });
    await db.pool.query(`UPDATE sessions SET touched_at = now() - interval '2 seconds'`);
    expect(await expireSession(db.pool, 's')).toBe(0);
    expect(await row()).toMatchObject({ open: false });
    await expect(claim()).rejects.toMatchObject({ code: 'SessionExpired' });
    await touchSession(db.pool, 's');
    // Asked again, for its answer was lost.
    expect(await expireSession(db.pool, 's')).toBe(0);
    expect(await expireSession(db.pool, 'nobody')).toBe(0);
  });

  test('begins once', async () => {
    await open();
    await Promise.all([markBegun(db.pool, 's'), markBegun(db.pool, 's')]);
    // Its workflow may hear of it later.
    expect(await row()).toMatchObject({ begun: true, state: 'UPLOADING' });
  });
});

describe('the end', () => {
  test('completed makes the node an object, and forgets the parts', async () => {
    await open({ encryption: { type: 'SSE_C', keyRef: 'ref', keyMd5: 'md5' } });
    await claim();
    await db.pool.query(`INSERT INTO session_tails (session, start, bytes) VALUES ('s', 0, '\\x00')`);
    await report({ state: 'COMPLETED', result });
    expect(await row()).toMatchObject({
      state: 'COMPLETED',
      open: false,
      size: 20,
      etag: '"whole"',
      parts: 2,
    });
    expect(await getNode(db.pool, 's')).toMatchObject({
      ...{ status: 'ACTIVE', uploadId: 's', etag: '"whole"', size: 20, versionId: 'v1', contentType: 'a/b' },
      ...{ checksum: 'crc32:AAAAAA==', encryptionType: 'SSE_C', customerKeyMd5: 'md5', kmsKeyId: null },
    });
    const { rows } = await db.pool.query(`SELECT FROM session_parts UNION ALL SELECT FROM session_tails`);
    expect(rows).toHaveLength(0);
  });

  test('completed says where the object is, whatever the node was told meanwhile', async () => {
    await open();
    await report({ state: 'FAILED' });
    await open({ id: 't', source: { ...opening().source, nodeId: 's' } });
    await open({
      id: 'u',
      source: { ...opening().source, nodeId: 's' },
      destination: { bucket: 'c', key: 'l' },
    });
    expect(await getNode(db.pool, 's')).toMatchObject({ bucket: 'c', key: 'l' });
    await report({ id: 't', state: 'COMPLETED', result });
    expect(await getNode(db.pool, 's')).toMatchObject({ uploadId: 't', bucket: 'b', key: 'k/t' });
  });

  test('of the last session leaves the node idle', async () => {
    const mustBe = (
      nodeId: string,
      op: 'rotate' | 'rollback',
      ended: Record<string, 'ended' | undefined> = {},
    ) => mustBeIdle(db.pool, (id) => Promise.resolve(id in ended ? ended[id] : 'open'), { nodeId }, op);
    await open();
    await expect(mustBe('s', 'rotate')).rejects.toMatchObject({ code: 'Conflict' });
    await mustBe('another', 'rotate');
    await report({ state: 'COMPLETED', result });
    await mustBe('s', 'rotate');
    await open({ id: 't', source: { ...opening().source, nodeId: 's' }, destination: result });
    await expect(mustBe('s', 'rollback')).rejects.toMatchObject({ key: 's' });
    // Whoever was terminated, or is forgotten, closes no row, and hides none that lives.
    await open({ id: 'u', source: { ...opening().source, nodeId: 's' }, destination: result });
    for (const gone of ['t', 'u'])
      await expect(mustBe('s', 'rollback', { [gone]: 'ended' })).rejects.toMatchObject({ key: 's' });
    await mustBe('s', 'rollback', { t: 'ended', u: undefined });
  });

  test.each([
    ['FAILED', 'FAILED'],
    ['EXPIRED', 'FAILED'],
    ['CANCELLED', 'CANCELLED'],
  ] as const)('%s makes the node %s, unless it is an object already', async (state, status) => {
    await open();
    const failure = { code: 'SessionExpired', message: 'gone', hint: 'h' } as const;
    await report({ state, failure });
    expect(await getNode(db.pool, 's')).toMatchObject({ status });
    expect(await row()).toMatchObject({ state, failure: { code: 'SessionExpired' } });
    await open({ id: 't' });
    await report({ id: 't', state: 'COMPLETED', result });
    await open({
      id: 'u',
      source: { ...opening().source, nodeId: 't' },
      destination: { bucket: 'b', key: 'k/t' },
    });
    await report({ id: 'u', state });
    expect(await getNode(db.pool, 't')).toMatchObject({ status: 'ACTIVE', uploadId: 't' });
  });

  test('of a run that was overtaken changes nothing', async () => {
    await open({ runStartedAt: NEXT_RUN });
    await report({ runStartedAt: NEXT_RUN, runId: 'next' });
    await report({ state: 'FAILED', sequence: 9 });
    expect(await row()).toMatchObject({ state: 'PENDING', open: true });
    expect(await getNode(db.pool, 's')).toMatchObject({ status: 'PENDING' });
  });

  test('before it was opened is no more than the upload’s', async () => {
    await report({ state: 'FAILED' });
    expect(await getSession(db.pool, 's')).toBeUndefined();
  });

  test('is whole or not at all', async () => {
    await open();
    await db.pool.query('ALTER TABLE nodes ADD CONSTRAINT broken CHECK (status <> $$ACTIVE$$)');
    await expect(report({ state: 'COMPLETED', result })).rejects.toThrow();
    expect(await row()).toMatchObject({ state: 'PENDING', open: true });
  });
});

describe('lists', () => {
  test('of sessions come newest first, by page, state, connector and bucket', async () => {
    for (const id of ['s1', 's2', 's3', 's4']) {
      await open({ id, source: { ...opening({ id }).source, connectorId: id < 's3' ? 'c1' : 'c2' } });
      await db.pool.query(
        `UPDATE sessions SET created_at = now() + interval '1 second' * substr(id, 2)::int`,
      );
    }
    await report({ id: 's2', state: 'CANCELLED' });
    const ids = async (ask: object) => {
      const { rows, nextCursor } = await listSessions(db.pool, { limit: 2, ...ask });
      return { ids: rows.map(({ id }) => id), nextCursor };
    };
    const first = await ids({});
    expect(first.ids).toEqual(['s4', 's3']);
    expect(await ids({ cursor: first.nextCursor })).toEqual({ ids: ['s2', 's1'], nextCursor: null });
    expect(await ids({ connectorId: 'c1' })).toEqual({ ids: ['s2', 's1'], nextCursor: null });
    expect((await ids({ state: 'CANCELLED' })).ids).toEqual(['s2']);
    expect((await ids({ state: 'PENDING', limit: 9 })).ids).toEqual(['s4', 's3', 's1']);
    expect((await ids({ bucket: 'other' })).ids).toEqual([]);
    await expect(ids({ limit: 0 })).rejects.toMatchObject({ code: 'InvalidInput' });
    await expect(ids({ cursor: 'x' })).rejects.toMatchObject({ code: 'InvalidInput' });
  });

  test('of nodes too', async () => {
    for (const id of ['n1', 'n2', 'n3']) {
      await open({ id, source: { ...opening({ id }).source, connectorId: 'c' } });
      await db.pool.query(
        `UPDATE nodes SET created_at = now() + interval '1 second' * substr(node_id, 2)::int`,
      );
    }
    await report({ id: 'n2', state: 'COMPLETED', result });
    const ids = async (ask: object) => {
      const { rows, nextCursor } = await listNodes(db.pool, { limit: 2, ...ask });
      return { ids: rows.map(({ nodeId }) => nodeId), nextCursor };
    };
    const first = await ids({ connectorId: 'c' });
    expect(first.ids).toEqual(['n3', 'n2']);
    expect(await ids({ cursor: first.nextCursor })).toEqual({ ids: ['n1'], nextCursor: null });
    expect((await ids({ status: 'ACTIVE' })).ids).toEqual(['n2']);
    expect((await ids({ bucket: 'other' })).ids).toEqual([]);
    expect(await getNode(db.pool, 'nobody')).toBeUndefined();
  });
});
