/** A worker stands still until another has taken its place, and then wakes up: it changes nothing. */
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { createPool } from '../../src/infra/catalog/pool.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { unfinishedUploads } from '../helpers/leaks.js';
import { startWorker, type TestProcess } from '../helpers/processes.js';
import { objectSha256, reached, startRig, type Rig } from '../helpers/rig.js';
import { partCalls, untilMidPart } from '../helpers/sent.js';
import { eventually, stays } from '../helpers/wait.js';

/** `PendingActivityState` of Temporal's API. */
const PENDING_STARTED = 2;
const NEWER = 'newer than both';
const AT_SOURCE = ['--queues', 'transfer@files'];
const ELSEWHERE = ['--queues', 'orchestration,transfer'];
let rig: Rig;

beforeAll(async () => {
  // More than the sockets between worker and proxy can hold still goes as one PutObject.
  rig = await startRig({
    worker: false,
    env: { LONGSHORE_THRESHOLD: '64MiB' },
  });
});
afterEach(() => rig.proxy.clearFaults());
afterAll(() => rig.close());

async function headOf({ client, name }: TestBucket, key: string) {
  const { ETag, LastModified, ContentLength } = await client.send(
    new HeadObjectCommand({ Bucket: name, Key: key }),
  );
  return { ETag, LastModified, ContentLength };
}

async function overwrite({ client, name }: TestBucket, key: string): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: name, Key: key, Body: NEWER }));
}

/**
 * A worker to be stopped, and one that lives all through and does all that is not done at the source. With one slot
 * the first asks Temporal for nothing while it works, so that no other task is given to it while it stands still.
 */
async function startZombie(): Promise<TestProcess> {
  const env = { ...rig.surroundings.env, WORKER_CONCURRENCY: '1' };
  const [zombie] = await Promise.all([
    startWorker({ ...rig.surroundings, env }, AT_SOURCE),
    startWorker(rig.surroundings, ELSEWHERE),
  ]);
  return zombie;
}

/** Wakes it and lets it do an upload of its own, so that whatever it had begun before has had its turn. */
async function wakeAndWork(
  zombie: TestProcess,
  other: TestProcess,
  onWaking?: () => Promise<void>,
): Promise<void> {
  await other.end();
  zombie.signal('SIGCONT');
  await onWaking?.();
  const bucket = await rig.bucket();
  const file = await rig.file(80 * MiB);
  const { id } = await rig.start(file, bucket);
  await rig.client.result(id);
  expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
  expect(await zombie.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(`${zombie.stdout}${zombie.stderr}`).not.toMatch(/"level":(50|60)|broke down/);
}

describe('SIGSTOP past the heartbeat timeout, then SIGCONT', () => {
  it('in the middle of a part: the object that another worker completed stays as it is', async () => {
    const file = await rig.bigFile(256 * MiB);
    const bucket = await rig.bucket();
    rig.proxy.fault({ op: 'UploadPart', bucket: bucket.name }, faults.bandwidth(60 * MiB));
    const zombie = await startZombie();
    const { id } = await rig.start(file, bucket);
    await reached(rig.client, id, file.size / 4);
    await untilMidPart(rig.proxy, bucket.name);
    zombie.signal('SIGSTOP');
    const other = await startWorker(rig.surroundings, AT_SOURCE);
    const result = await rig.client.result(id);
    expect(result).toMatchObject({ verification: 'full', generations: 1 });
    const before = await headOf(bucket, file.name);
    const woken = performance.now();
    await wakeAndWork(zombie, other);
    expect(partCalls(rig.proxy, bucket.name).filter(({ at }) => at > woken)).toEqual([]);
    expect(await headOf(bucket, file.name)).toEqual(before);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    expect(await unfinishedUploads(bucket.client, bucket.name)).toEqual([]);
    expect(await rig.row(id)).toMatchObject({ state: 'COMPLETED', etag: result.etag });
  });

  it('in the middle of a PutObject: a newer object of someone else stays', async () => {
    const file = await rig.file(48 * MiB);
    const bucket = await rig.bucket();
    const zombie = await startZombie();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const held = new Promise<void>((resolve) => {
      const before = async (): Promise<void> => {
        // Stopped while most of the body is still its own.
        zombie.signal('SIGSTOP');
        resolve();
        await released;
      };
      rig.proxy.fault({ op: 'PutObject', bucket: bucket.name, times: 1 }, faults.hook({ before }));
    });
    onTestFinished(release);
    const { id } = await rig.start(file, bucket);
    await held;
    const other = await startWorker(rig.surroundings, AT_SOURCE);
    await rig.client.result(id);
    expect(await objectSha256(bucket, file.name)).toBe(file.sha256);
    await overwrite(bucket, file.name);
    const before = await headOf(bucket, file.name);
    const statuses = (): unknown[] =>
      rig.proxy.log
        .filter((call) => call.op === 'PutObject' && call.bucket === bucket.name)
        .map(({ status }) => status);
    await wakeAndWork(zombie, other, async () => {
      const unanswered = (): boolean => statuses()[0] === undefined;
      // Freed before Temporal's word that the attempt is over can have stopped it: its own fence must have.
      await stays(unanswered, 1000, 'the first PutObject unanswered');
      release();
      await stays(unanswered, 3000, 'the first PutObject unanswered');
    });
    expect(statuses()).toEqual([undefined, 200]);
    expect(await headOf(bucket, file.name)).toEqual(before);
  });

  it('with a task in its sockets that it has not begun: it does not begin it', async () => {
    const file = await rig.file(MiB);
    const bucket = await rig.bucket();
    const zombie = await startZombie();
    // Between the look at the source and PutObject the workflow waits for the catalog.
    const unlock = await lockCatalog();
    const { id, workflowId } = await rig.start(file, bucket);
    await eventually(() => activityIs(workflowId, 'inspectSource', 'done'), { timeout: 30_000 });
    zombie.signal('SIGSTOP');
    await unlock();
    await eventually(() => activityIs(workflowId, 'putObject', 'started'), { timeout: 30_000 });
    const other = await startWorker(rig.surroundings, AT_SOURCE);
    await rig.client.result(id);
    await overwrite(bucket, file.name);
    const before = await headOf(bucket, file.name);
    await wakeAndWork(zombie, other);
    expect(rig.proxy.calls('PutObject', { bucket: bucket.name })).toBe(1);
    expect(await headOf(bucket, file.name)).toEqual(before);
  });
});

/** Holds up every write to the catalog until the answer is called. */
async function lockCatalog(): Promise<() => Promise<void>> {
  const { postgres } = rig.surroundings;
  if (postgres === undefined) throw new Error('the rig has no PostgreSQL');
  const pool = createPool(postgres.url, { max: 1, ...(postgres.schema && { schema: postgres.schema }) });
  await pool.query('BEGIN');
  await pool.query('LOCK TABLE object_uploads IN ACCESS EXCLUSIVE MODE');
  return async () => {
    await pool.query('COMMIT');
    await pool.end();
  };
}

async function activityIs(workflowId: string, type: string, state: 'started' | 'done'): Promise<boolean> {
  const handle = rig.temporal.client.workflow.getHandle(workflowId);
  const { raw } = await handle.describe();
  const pending = (raw.pendingActivities ?? []).find(({ activityType }) => activityType?.name === type);
  if (state === 'started') return Number(pending?.state) === PENDING_STARTED;
  const { events } = await handle.fetchHistory();
  const completed = (events ?? []).some(({ activityTaskCompletedEventAttributes: done }) => done);
  return pending === undefined && completed;
}
