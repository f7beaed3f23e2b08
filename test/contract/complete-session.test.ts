/** Attempts to complete a session, one of which stood still: what a later one has opened stays open. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createCompleteSession } from '../../src/activities/complete-session.js';
import { NO_KEYS, type KeysOf } from '../../src/activities/keyed.js';
import { S3_PROFILE } from '../../src/core/part-plan.js';
import type { CompleteSessionInput, SessionCompletion } from '../../src/core/sessions.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { getSession, openSession } from '../../src/infra/catalog/sessions.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { quietTemporal } from '../helpers/quiet.js';

const SOURCE = { kind: 'client' as const, name: 'a', nodeId: 's', mode: 'chunks' as const, ttlMs: 60_000 };
const AT = { bucket: 'b', key: 'k' };
const TOKEN = { uploadId: 'upload/s', nonce: 'n' };

let db: TestSchema;
beforeAll(quietTemporal);
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  await openSession(db.pool, {
    ...{ id: 's', source: SOURCE, destination: AT, contentType: 'a/b', metadata: {}, chunkSize: 10 },
    ...{ expectedSize: 20, encryption: null, apiKey: null, s3UploadId: 'm', token: TOKEN },
    ...{ runId: 'run', runStartedAt: '2026-01-01T00:00:00.000Z', runGeneration: 1 },
  });
});
afterEach(() => db.drop());

const INPUT: CompleteSessionInput = {
  upload: { id: 's', source: SOURCE, destination: AT, options: {} },
  inspection: {
    source: { ...SOURCE, size: 20 },
    plan: {
      ...{ kind: 'parts', mode: 'sequential', windows: [], windowsAtOnce: 0 },
      parts: { size: 20, partSize: 10, count: 2, growEvery: null },
    },
    options: { contentType: 'a/b', checksum: true, concurrency: 1 },
    maxGenerations: 1,
  },
  created: { s3UploadId: 'm', token: TOKEN, before: 'absent' },
  ...{ again: false, generation: 1, turn: 1, ask: {} },
};

interface Circumstances {
  attempt: number;
  turn?: number;
  listParts?: ObjectStore['listParts'];
  keysOf?: KeysOf;
  heartbeatTimeoutMs?: number;
}

function attempt({ attempt: number, turn = 1, ...given }: Circumstances): Promise<SessionCompletion> {
  const { listParts = () => Promise.resolve([]), keysOf = NO_KEYS, heartbeatTimeoutMs = 60_000 } = given;
  const store = { listParts, headObject: () => Promise.resolve(undefined) } as unknown as ObjectStore;
  const verify = () => Promise.reject(new Error('it was not completed'));
  const complete = createCompleteSession({ db: db.pool, store, profile: S3_PROFILE, keysOf, verify });
  const environment = new MockActivityEnvironment({ attempt: number, heartbeatTimeoutMs });
  return environment.run(complete, { ...INPUT, turn });
}

const isOpen = async () => (await getSession(db.pool, 's'))?.open;
const closing = () => Promise.reject(new Error('it ended there'));

describe('completing a session of which chunks are missing', () => {
  it('opens it again', async () => {
    let meanwhile: boolean | undefined;
    const listParts = async () => {
      meanwhile = await isOpen();
      return [];
    };
    expect(await attempt({ attempt: 1, listParts })).toMatchObject({ incomplete: { missingCount: 2 } });
    expect(meanwhile).toBe(false);
    expect(await isOpen()).toBe(true);
    await attempt({ attempt: 1, turn: 2 });
    expect(await isOpen()).toBe(true);
  });

  it('is not undone by an attempt that comes late', async () => {
    await attempt({ attempt: 2 });
    await expect(attempt({ attempt: 1, listParts: closing })).rejects.toThrow();
    expect(await isOpen()).toBe(true);
    // Nor does one open what is being completed now.
    await expect(attempt({ attempt: 1, turn: 2, listParts: closing })).rejects.toThrow();
    await attempt({ attempt: 3 });
    expect(await isOpen()).toBe(false);
  });

  it('is given up by an attempt that stood still, before it shuts anything', async () => {
    const keysOf: KeysOf = () => {
      const end = performance.now() + 50;
      while (performance.now() < end);
      return Promise.resolve({});
    };
    const late = attempt({ attempt: 1, keysOf, heartbeatTimeoutMs: 20, listParts: closing });
    await expect(late).rejects.toMatchObject({ code: 'AttemptFenced' });
    expect(await isOpen()).toBe(true);
  });
});
