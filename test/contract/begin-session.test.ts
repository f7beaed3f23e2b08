/** `beginSession` against the real catalog: attempts that did not come to their end, and what is left to the workflow. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBeginSession } from '../../src/activities/begin-session.js';
import { LongshoreError } from '../../src/core/errors.js';
import type { BeginSessionInput, BegunSession } from '../../src/core/sessions.js';
import type { CreateInput, Inspection } from '../../src/core/upload-steps.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { getSession } from '../../src/infra/catalog/sessions.js';
import { getUpload } from '../../src/infra/catalog/uploads.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { quietTemporal } from '../helpers/quiet.js';

const SOURCE = { kind: 'client' as const, name: 'a', nodeId: 's', mode: 'chunks' as const, ttlMs: 60_000 };
const AT = { bucket: 'b', key: 'k' };
const RUN = '2026-01-01T00:00:00.000Z';

const INSPECTION: Inspection = {
  source: { ...SOURCE, size: 20 },
  plan: {
    ...{ kind: 'parts', mode: 'sequential', windows: [], windowsAtOnce: 0 },
    parts: { size: 20, partSize: 10, count: 2, growEvery: null },
  },
  options: { contentType: 'a/b', checksum: true, concurrency: 1 },
  maxGenerations: 1,
};

const input = (change: Partial<BeginSessionInput> = {}): BeginSessionInput => ({
  upload: { id: 's', source: SOURCE, destination: AT, options: {} },
  token: { uploadId: 'upload/s', nonce: 'n' },
  runGeneration: 1,
  report: {
    ...{ id: 's', workflowId: 'upload/s', runId: 'run', runStartedAt: RUN, sequence: 1, state: 'PENDING' },
    ...{ destination: AT, source: { kind: 'client', label: 'client:a' } },
  },
  ...change,
});

let db: TestSchema;
beforeAll(quietTemporal);
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

/** Multipart uploads are counted, and `onCreate` may spoil what comes after one is begun. */
function activity(
  onCreate: (input: CreateInput) => void | Promise<void> = () => undefined,
  pool: Pool = db.pool,
) {
  const created: string[] = [];
  const activity = createBeginSession({
    ...{ db: pool, installation: 'inst' },
    inspect: () => Promise.resolve(INSPECTION),
    create: async (asked, earlier) => {
      if (earlier === undefined) created.push(`m-${created.length + 1}`);
      await onCreate(asked);
      return { s3UploadId: earlier ?? `m-${created.length}`, token: asked.token, before: 'absent' };
    },
  });
  const begin = (asked: BeginSessionInput): Promise<BegunSession> =>
    new MockActivityEnvironment({ attempt: 1, heartbeatTimeoutMs: 60_000 }).run(activity, asked);
  return { begin, created };
}

describe('a session', () => {
  it('has its row before its multipart upload is begun, and both are in it after', async () => {
    const { begin } = activity(async () => {
      expect(await getUpload(db.pool, 's')).toMatchObject({ ...AT, state: 'PENDING', s3UploadId: null });
    });
    expect(await begin(input())).toMatchObject({
      ...{ s3UploadId: 'm-1', generation: 1, before: 'absent', inspection: INSPECTION },
    });
    expect(await getUpload(db.pool, 's')).toMatchObject({
      ...{ state: 'PENDING', s3UploadId: 'm-1', sequence: 2, size: 20, partSize: 10, parts: 2 },
    });
    expect(await getSession(db.pool, 's')).toMatchObject({ open: true, s3UploadId: 'm-1', chunkSize: 10 });
  });

  it('is begun once, however often the answer is lost', async () => {
    const { begin, created } = activity();
    const first = await begin(input());
    expect(await begin(input())).toEqual(first);
    expect(created).toEqual(['m-1']);
  });

  it('takes up what an attempt wrote down that died before it opened the session', async () => {
    const { begin, created } = activity();
    await begin(input());
    await db.pool.query('DELETE FROM sessions');
    expect(await begin(input())).toMatchObject({ s3UploadId: 'm-1', generation: 1 });
    expect(created).toEqual(['m-1']);
    expect(await getSession(db.pool, 's')).toMatchObject({ s3UploadId: 'm-1' });
  });

  it('keeps the multipart upload that an attempt opened which was thought lost', async () => {
    const late = activity();
    const { begin, created } = activity(async () => void (await late.begin(input())));
    created.push('of this attempt');
    expect(await begin(input())).toMatchObject({ s3UploadId: 'm-1', generation: 1 });
    expect(await getSession(db.pool, 's')).toMatchObject({ s3UploadId: 'm-1', generation: 1 });
    expect(created).toHaveLength(2);
  });

  it('is begun with another multipart upload by another token, and its parts are forgotten', async () => {
    const { begin } = activity();
    await begin(input());
    const token = { uploadId: 'upload/s', nonce: 'second' };
    const lost = { before: 'absent' as const, completing: false };
    const report = { ...input().report, sequence: 3 };
    const again = { token, lost, report, runGeneration: 2, inspection: INSPECTION };
    expect(await begin(input(again))).toMatchObject({ s3UploadId: 'm-2', generation: 2 });
  });
});

describe('what a multipart upload is begun for', () => {
  it('is named although the session cannot be opened, so that it can be aborted', async () => {
    const { begin } = activity();
    await begin(input());
    await db.pool.query(`UPDATE nodes SET status = 'ACTIVE', key = 'elsewhere'`);
    const token = { uploadId: 'upload/s', nonce: 'second' };
    const answer = await begin(input({ token, report: { ...input().report, sequence: 3 } }));
    expect(answer).toMatchObject({ s3UploadId: 'm-2' });
    expect(answer).not.toHaveProperty('generation');
  });

  it('is not begun while the catalog is away', async () => {
    const { created, begin } = activity();
    await db.pool.query('ALTER TABLE object_uploads RENAME TO away');
    await expect(begin(input())).rejects.toBeInstanceOf(LongshoreError);
    expect(created).toEqual([]);
  });
});
