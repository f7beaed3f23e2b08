/** What a sweep makes of answers of Temporal and S3 that are hard to come by, with the real catalog. */
import { randomUUID } from 'node:crypto';
import { WorkflowNotFoundError, type Client, type WorkflowExecutionStatusName } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sweepSilentJobs } from '../../src/activities/sweep-jobs.js';
import { sweepSilentRows } from '../../src/activities/sweep-rows.js';
import { beginPass, settleUploads, type SweepPass } from '../../src/activities/sweep-uploads.js';
import { LongshoreError } from '../../src/core/errors.js';
import { CREATES } from '../../src/core/maintenance.js';
import { getJob, insertJob, openJob } from '../../src/infra/catalog/jobs.js';
import { listFindings } from '../../src/infra/catalog/maintenance.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { openSession, type OpeningSession } from '../../src/infra/catalog/sessions.js';
import { getUpload, reportUpload } from '../../src/infra/catalog/uploads.js';
import type { TemporalConfig } from '../../src/infra/config.js';
import type { ListedPart, ObjectStore, UploadRef } from '../../src/infra/s3/store.js';
import { asked, definition } from '../helpers/catalog-jobs.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';

const BUCKET = 'bucket';
const SWEEP = 'sweep/test';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

type Parts = (ref: UploadRef) => Pick<ListedPart, 'partNumber' | 'size'>[];

/** A server that lists these uploads; what was aborted is gone. */
function serverWith(listed: { key: string; s3UploadId: string }[], parts: Parts = () => []) {
  const aborted: string[] = [];
  const initiated = new Date(Date.now() - 1).toISOString();
  const store = {
    listUploadsPage: () => Promise.resolve({ uploads: listed.map((each) => ({ ...each, initiated })) }),
    abortMultipartUpload: ({ s3UploadId }: UploadRef) => Promise.resolve(void aborted.push(s3UploadId)),
    listParts: (ref: UploadRef) =>
      aborted.includes(ref.s3UploadId)
        ? Promise.reject(new LongshoreError('NoSuchUpload', 'gone', { op: 'ListParts' }))
        : Promise.resolve(ref).then(parts),
  } as unknown as ObjectStore;
  return { store, aborted };
}

/** A Temporal whose every workflow is like this. */
function temporalWith(
  name: WorkflowExecutionStatusName,
  events: object[] = [],
  startTime = new Date(1000),
): Client {
  const described = { runId: 'later', startTime, memo: {}, status: { code: 0, name } };
  const handle = {
    describe: () => Promise.resolve(described),
    fetchHistory: () => Promise.resolve({ events }),
  };
  const list = () => (async function* () {})();
  return { workflow: { getHandle: () => handle, list } } as unknown as Client;
}

/** A Temporal that has forgotten every workflow. */
function forgetful(): Client {
  const describe = () => Promise.reject(new WorkflowNotFoundError('gone', 'upload/a', undefined));
  return { workflow: { getHandle: () => ({ describe }) } } as unknown as Client;
}

function passOf(client: Client, store: ObjectStore): SweepPass {
  const deps = { db: db.pool, store, client, temporal: {} as TemporalConfig, installation: 'default' };
  const cutoff = new Date(Date.now() + 60_000).toISOString();
  const scope = { sweep: SWEEP, cutoff, olderThanMs: 0, dryRun: false };
  return beginPass(deps, scope, new AbortController().signal);
}

const rowsOf = (pass: SweepPass) => sweepSilentRows(pass, { ...pass.scope, after: null });
const jobsOf = (pass: SweepPass) => sweepSilentJobs(pass, { ...pass.scope, after: null });
const found = async () => (await listFindings(db.pool, { sweep: SWEEP, limit: 100 })).findings;

async function uploading(id: string, s3UploadId = `of-${id}`): Promise<{ key: string; s3UploadId: string }> {
  await reported(id, s3UploadId);
  return { key: id, s3UploadId };
}

async function reported(id: string, s3UploadId: string | undefined): Promise<void> {
  await reportUpload(db.pool, 'default', {
    ...{ id, workflowId: `upload/${id}`, runId: randomUUID(), runStartedAt: new Date(0).toISOString() },
    ...{ sequence: 1, state: 'UPLOADING', destination: { bucket: BUCKET, key: id } },
    ...(s3UploadId === undefined ? {} : { s3UploadId }),
    source: { kind: 'client', label: 'client' },
  });
  await db.pool.query(`UPDATE object_uploads SET created_at = now() - interval '1 hour'`);
}

describe('an owner whose workflow is not closed', () => {
  it.each(['RUNNING', 'PAUSED', 'UNSPECIFIED', 'UNKNOWN', 'CONTINUED_AS_NEW'] as const)(
    'keeps everything: %s',
    async (status) => {
      const { store, aborted } = serverWith([await uploading('a')]);
      await openJob(db.pool, 'default', asked('j', 'run'));
      const pass = passOf(temporalWith(status), store);
      await rowsOf(pass);
      await jobsOf(pass);
      await settleUploads(pass, BUCKET, [
        { key: 'a', s3UploadId: 'of-a', initiated: new Date().toISOString() },
      ]);
      expect(aborted).toEqual([]);
      expect(await getUpload(db.pool, 'a')).toMatchObject({ state: 'UPLOADING' });
      expect(await getJob(db.pool, 'j')).toMatchObject({ finishedAt: null });
      expect((await found()).every(({ outcome }) => outcome === 'kept')).toBe(true);
    },
  );

  it.each(['TERMINATED', 'TIMED_OUT', 'CANCELLED', 'FAILED'] as const)(
    'and loses it by %s',
    async (status) => {
      const { store, aborted } = serverWith([await uploading('a')]);
      await openJob(db.pool, 'default', asked('j', 'run'));
      const pass = passOf(temporalWith(status), store);
      await rowsOf(pass);
      await jobsOf(pass);
      expect(aborted).toEqual(['of-a']);
      expect(await getUpload(db.pool, 'a')).not.toMatchObject({ state: 'UPLOADING' });
      expect(await getJob(db.pool, 'j')).toMatchObject({ finishedAt: expect.any(String) as string });
    },
  );
});

const scheduled = (eventId: number, name = 'createMultipartUpload') => ({
  eventId,
  activityTaskScheduledEventAttributes: { activityType: { name } },
});
const started = (scheduledEventId: number, attempt: number) => ({
  activityTaskStartedEventAttributes: { scheduledEventId, attempt },
});
const answered = (scheduledEventId: number, s3UploadId: string) => ({
  activityTaskCompletedEventAttributes: {
    scheduledEventId,
    result: { payloads: [defaultPayloadConverter.toPayload({ s3UploadId })] },
  },
});
const first = [scheduled(5), started(5, 1), answered(5, 'of-a')];

describe('an empty multipart upload at a key of ours that nobody names', () => {
  const outcomes = {
    'each Create answered at once': [first, []],
    'another activity had trouble': [[...first, scheduled(8, 'uploadParts'), started(8, 3)], []],
    'a Create was tried again': [[scheduled(5), started(5, 2), answered(5, 'of-a')], ['unnamed']],
    'a Create failed': [
      [...first, scheduled(8), { activityTaskFailedEventAttributes: { scheduledEventId: 8 } }],
      ['unnamed'],
    ],
    'a Create ran out of time': [
      [...first, scheduled(8), { activityTaskTimedOutEventAttributes: { scheduledEventId: 8 } }],
      ['unnamed'],
    ],
    'a Create was cancelled': [
      [...first, scheduled(8), { activityTaskCanceledEventAttributes: { scheduledEventId: 8 } }],
      ['unnamed'],
    ],
  } as const;

  it.each(Object.entries(outcomes))('where %s', async (_name, [events, gone]) => {
    const named = await uploading('a');
    const listed = [named, { key: 'a', s3UploadId: 'unnamed' }];
    const { store, aborted } = serverWith(listed);
    const initiated = new Date().toISOString();
    const pass = passOf(temporalWith('RUNNING', [...events]), store);
    const strangers = await settleUploads(
      pass,
      BUCKET,
      listed.map((each) => ({ ...each, initiated })),
    );
    expect(aborted).toEqual(gone);
    expect(strangers).toBe(1 - gone.length);
  });

  it.each([...CREATES])('is lost where the workflow was terminated while it waited for %s', async (name) => {
    await uploading('a', 'other');
    const { store, aborted } = serverWith([]);
    const pass = passOf(temporalWith('TERMINATED', [scheduled(5, name)]), store);
    await settleUploads(pass, BUCKET, [
      { key: 'a', s3UploadId: 'unnamed', initiated: new Date().toISOString() },
    ]);
    expect(aborted).toEqual(['unnamed']);
  });
});

describe('a multipart upload that nobody names, at a key of an upload that Temporal has forgotten', () => {
  const at = async (initiated: number, parts?: Parts) => {
    await uploading('a');
    const ended = `state = 'COMPLETED', finished_at = now() - interval '1 minute'`;
    await db.pool.query(`UPDATE object_uploads SET ${ended}`);
    const { store, aborted } = serverWith([], parts);
    const listed = [{ key: 'a', s3UploadId: 'unnamed', initiated: new Date(initiated).toISOString() }];
    const strangers = await settleUploads(passOf(forgetful(), store), BUCKET, listed);
    return { aborted, strangers };
  };
  const MINUTE = 60_000;

  it('may be one whose answer was lost: it goes if it is empty', async () => {
    expect(await at(Date.now() - 30 * MINUTE)).toEqual({ aborted: ['unnamed'], strangers: 0 });
    expect(await found()).toMatchObject([{ subject: 'unnamed', outcome: 'aborted', reason: 'lost' }]);
  });

  it('stays with bytes in it', async () => {
    const bytes: Parts = () => [{ partNumber: 1, size: 10 }];
    expect(await at(Date.now() - 30 * MINUTE, bytes)).toEqual({ aborted: [], strangers: 1 });
  });

  it.each([
    ['before the upload was', 61],
    ['after it had ended', 0],
  ])('stays when it was begun %s', async (_when, minutes) => {
    expect(await at(Date.now() - minutes * MINUTE)).toEqual({ aborted: [], strangers: 1 });
  });

  it('goes, too, where only the first runs are forgotten', async () => {
    const named = await uploading('a');
    const listed = [named, { key: 'a', s3UploadId: 'unnamed' }];
    const { store, aborted } = serverWith(listed);
    const begun = new Date(Date.now() - 30 * MINUTE);
    const pass = passOf(temporalWith('RUNNING', first, begun), store);
    const initiated = begun.toISOString();
    await settleUploads(
      pass,
      BUCKET,
      listed.map((each) => ({ ...each, initiated })),
    );
    expect(aborted).toEqual(['unnamed']);
  });
});

describe('a multipart upload at the key of a session that nobody names', () => {
  const whole = { mode: 'whole', s3UploadId: null, encryption: null } as const;
  const chunks = { mode: 'chunks', s3UploadId: 'of-a', encryption: null } as const;
  const sealed = { encryption: { type: 'SSE_S3' } } as const;

  /** What a sweep aborts there, with those parts in it. */
  async function gone(
    { mode, ...session }: Pick<OpeningSession, 's3UploadId' | 'encryption'> & { mode: 'whole' | 'chunks' },
    parts: ReturnType<Parts>,
  ): Promise<string[]> {
    await openSession(db.pool, {
      ...{ id: 'a', destination: { bucket: BUCKET, key: 'a' }, contentType: 'a/b', metadata: {} },
      ...{ chunkSize: 10, expectedSize: null, apiKey: null, ...session },
      source: { kind: 'client', name: 'a', nodeId: 'a', mode, ttlMs: 60_000 },
      token: { uploadId: 'upload/a', nonce: 'n' },
      ...{ runId: 'run', runStartedAt: new Date(0).toISOString(), runGeneration: 1 },
    });
    await reported('a', session.s3UploadId ?? undefined);
    const { store, aborted } = serverWith([], () => parts);
    const initiated = new Date().toISOString();
    const pass = passOf(temporalWith('RUNNING', session.s3UploadId === null ? [] : first), store);
    await settleUploads(pass, BUCKET, [{ key: 'a', s3UploadId: 'unnamed', initiated }]);
    return aborted;
  }

  // By one that is begun and aborted a server is tried, and the API may die in between.
  it.each([
    ['a whole object', whole],
    ['a whole object, encrypted', { ...whole, ...sealed }],
    ['chunks', chunks],
    ['chunks, encrypted', { ...chunks, ...sealed }],
  ])('goes when it is empty or has a single byte: %s', async (_what, session) => {
    expect(await gone(session, [])).toEqual(['unnamed']);
    expect(await gone(session, [{ partNumber: 1, size: 1 }])).toEqual(['unnamed']);
  });

  it.each([
    ['more bytes', [{ partNumber: 1, size: 2 }]],
    ['another part', [{ partNumber: 2, size: 1 }]],
    [
      'more parts',
      [
        { partNumber: 1, size: 1 },
        { partNumber: 2, size: 1 },
      ],
    ],
  ])('stays with %s', async (_what, parts) => {
    expect(await gone(whole, parts)).toEqual([]);
  });
});

describe('a multipart upload under a customer’s key, which S3 does not show without it', () => {
  const hidden: Parts = () => {
    throw new LongshoreError('InvalidRequest', 'the correct parameters must be provided', {
      op: 'ListParts',
    });
  };

  it('is aborted with its dead owner, whose row is closed', async () => {
    await uploading('a');
    // A list of the bucket may leave it out.
    const { store, aborted } = serverWith([], hidden);
    await rowsOf(passOf(temporalWith('TERMINATED'), store));
    expect(aborted).toEqual(['of-a']);
    expect(await getUpload(db.pool, 'a')).toMatchObject({ state: 'FAILED' });
    expect((await found()).map(({ kind, outcome }) => `${kind} ${outcome}`)).toEqual([
      'multipart aborted',
      'row closed',
    ]);
  });

  it('is kept, and named, where it may be one whose answer was lost', async () => {
    await uploading('a');
    const { store, aborted } = serverWith([], hidden);
    const pass = passOf(temporalWith('RUNNING', [scheduled(5), started(5, 2), answered(5, 'of-a')]), store);
    const initiated = new Date().toISOString();
    expect(await settleUploads(pass, BUCKET, [{ key: 'a', s3UploadId: 'unnamed', initiated }])).toBe(0);
    expect(aborted).toEqual([]);
    expect(await found()).toMatchObject([{ subject: 'unnamed', outcome: 'kept', reason: 'hidden' }]);
  });
});

describe('a job that no run has opened', () => {
  it('is closed without an event, for there was no run that could end', async () => {
    const job = { id: 'j', workflowId: 'job/j', definition, fingerprint: 'f' };
    await insertJob(db.pool, 'default', job);
    await jobsOf(passOf(temporalWith('TERMINATED'), serverWith([]).store));
    expect(await getJob(db.pool, 'j')).toMatchObject({ state: 'FAILED', failure: { code: 'Terminated' } });
    expect((await db.pool.query('SELECT FROM outbox')).rowCount).toBe(0);
  });
});
