/** The workflows of jobs on their own, on the dev server: what they do with what their activities say. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CancelledFailure, Context } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import { checkWorkflowId, jobWorkflowId, rootQueue, uploadWorkflowId } from '../../src/core/ids.js';
import { approveSignal, jobStatusQuery, type JobMemo } from '../../src/core/jobs.js';
import type { BatchInput, RegroupInput } from '../../src/core/job-steps.js';
import { cancelSignal, pauseSignal, resumeSignal } from '../../src/core/uploads.js';
import { testNamespace, type TestNamespace } from '../helpers/temporal.js';
import { COUNTS, DEFINITION, JobBench, ROOT, type JobHandle } from '../helpers/job-bench.js';
import { benchServer, failing, failureOf, until, type BenchServer } from '../helpers/upload-bench.js';
import { eventually } from '../helpers/wait.js';

let temporal: TestNamespace;
let env: BenchServer;

beforeAll(async () => {
  temporal = await testNamespace();
  env = await benchServer(temporal);
});
afterAll(() => temporal.close());

/** Runs until it is told to stop, and answers then. */
async function untilTold<T>(answer: () => T): Promise<T> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), 50);
  try {
    await context.cancelled;
  } catch (error) {
    if (!(error instanceof CancelledFailure)) throw error;
  } finally {
    clearInterval(beat);
  }
  return answer();
}

const inState = (handle: JobHandle, state: string): Promise<void> =>
  until(async () => expect((await handle.query(jobStatusQuery)).state).toBe(state));

describe('uploadJob', () => {
  it('opens, scans in slices, sends every batch once, and finishes with the counts of the rows', async () => {
    const bench = new JobBench(env);
    const result = await bench.run((handle) => handle.result());
    expect(result).toEqual({ ...COUNTS, state: 'COMPLETED', generation: 1 });
    expect(bench.sent.toSorted()).toEqual([1, 2, 3, 4]);
    expect(bench.count('scanFolder')).toBe(2);
    expect(bench.ends).toEqual([{ job: 7, generation: 1, state: 'COMPLETED' }]);
    expect(bench.states()[0]).toBe('IN_PROGRESS scan');
    expect(bench.calls.filter((call) => /regroup|Deletions|checkBucket|setMonitor/.test(call))).toEqual([]);
  });

  it('sends the first batches while it scans, and scans only so far ahead', async () => {
    const bench = new JobBench(env);
    bench.batches = 20;
    bench.plan = { scanAhead: 4, batchesAtOnce: 2 };
    const mostAhead = 4 + 2;
    const ahead: number[] = [];
    let found = 0;
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    bench.activities.scanFolder = () => {
      ahead.push(found - bench.sent.length);
      found += 2;
      return Promise.resolve({ batches: found, pending: found, large: 0, gone: 0, done: found === 20 });
    };
    bench.activities.uploadFiles = async ({ batch }) => {
      await held;
      bench.sent.push(batch);
      return bench.result();
    };
    await bench.run(async (handle) => {
      // Batches that are begun and held, and those that are not begun: then nothing more is asked for.
      await until(async () => {
        expect(found).toBe(mostAhead);
        const { events } = await handle.fetchHistory();
        expect(events?.at(-1)?.workflowTaskCompletedEventAttributes).toBeTruthy();
      });
      release();
      await handle.result();
    });
    expect(bench.sent).toHaveLength(20);
    expect(Math.max(...ahead)).toBeLessThan(mostAhead);
  });

  it('sends large files as uploads of their own, which know their job', async () => {
    const bench = new JobBench(env);
    bench.large = [11, 12, 13];
    await bench.run((handle) => handle.result());
    expect(bench.settled.map(({ file }) => file).toSorted()).toEqual([11, 12, 13]);
    expect(bench.settled[0]?.result).toMatchObject({ etag: '"done"' });
    const child = env.client.workflow.getHandle(uploadWorkflowId(bench.uploadId(11)));
    const { events } = await child.fetchHistory();
    const started = events?.[0]?.workflowExecutionStartedEventAttributes;
    expect(started?.priority?.fairnessKey).toBe('job-7');
    const input = JSON.parse(Buffer.from(started?.input?.payloads?.[0]?.data ?? []).toString()) as unknown;
    expect(input).toMatchObject({
      job: 7,
      source: { kind: 'file', root: ROOT, path: 'photos/11' },
      destination: { bucket: 'to-bucket', key: 'in/11' },
    });
  });

  it('tries a large file again that changed, and then says that it failed', async () => {
    const bench = new JobBench(env);
    bench.large = [11];
    bench.plan = { maxAttempts: 2 };
    bench.activities.inspectSource = () => failing('SourceChanged');
    await bench.run((handle) => handle.result());
    expect(bench.count('inspectSource')).toBe(2);
    expect(bench.settled).toMatchObject([{ file: 11, failure: { code: 'SourceChanged' } }]);
  });

  it('continues as new with what is on its way, and neither loses nor repeats anything', async () => {
    const bench = new JobBench(env);
    bench.batches = 24;
    bench.large = [11];
    bench.plan = { maxEvents: 60 };
    let mayEnd = false;
    bench.activities.completeMultipartUpload = async ({ created, size }) => {
      await until(() => expect(mayEnd).toBe(true));
      return { etag: '"done"', size, token: created.token, checksumAccepted: true, bytesSent: 0 };
    };
    await bench.run(async (handle) => {
      await until(() => expect(bench.count('followUpload')).toBeGreaterThan(0));
      mayEnd = true;
      await handle.result();
      const last = await env.client.workflow.getHandle(handle.workflowId).describe();
      expect(last.runId).not.toBe(handle.firstExecutionRunId);
      expect((last.memo as JobMemo).fingerprint).toBe('f');
      expect(last.historyLength).toBeLessThan(120);
    });
    expect(bench.sent.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 24 }, (_, index) => index + 1));
    expect(bench.settled).toMatchObject([{ file: 11, result: { etag: '"done"' } }]);
    expect(bench.count('openJob')).toBe(1);
    expect(bench.ends).toHaveLength(1);
  });

  it('gives what was left another round, and a last one after which it fails', async () => {
    const bench = new JobBench(env);
    bench.batches = 1;
    bench.perSlice = 1;
    const rounds: RegroupInput[] = [];
    bench.activities.uploadFiles = () => Promise.resolve(bench.result({ left: 1 }));
    bench.activities.regroup = (input) => {
      rounds.push(input);
      const pending = input.maxAttempts === 1 ? 0 : 1;
      return Promise.resolve({ batches: 1 + rounds.length, pending });
    };
    await bench.run((handle) => handle.result());
    expect(rounds.map(({ maxAttempts }) => maxAttempts)).toEqual([3, 3, 1]);
    expect(bench.count('uploadFiles')).toBe(3);
  });

  it('leaves what changes just now to the monitor', async () => {
    const bench = new JobBench(env);
    bench.plan = { monitor: true };
    bench.activities.uploadFiles = () => Promise.resolve(bench.result({ left: 1 }));
    await bench.run((handle) => handle.result());
    expect(bench.count('regroup')).toBe(0);
    expect(bench.calls.indexOf('setMonitor')).toBeLessThan(bench.calls.indexOf('finishJob'));
  });

  it('retries what had failed without looking at the folder', async () => {
    const bench = new JobBench(env);
    bench.activities.regroup = ({ failed }) => {
      expect(failed).toBe(true);
      return Promise.resolve({ batches: 2, pending: 700 });
    };
    await bench.serving(async () => {
      await (await bench.start({ mode: 'retry' })).result();
    });
    expect(bench.count('scanFolder')).toBe(0);
    expect(bench.sent.toSorted()).toEqual([1, 2]);
  });

  it('compares the bucket once, and sends again what is missing there', async () => {
    const bench = new JobBench(env);
    bench.plan = { verify: true };
    bench.activities.checkBucket = () => Promise.resolve({ again: 3 });
    bench.activities.regroup = () => Promise.resolve({ batches: 5, pending: 3 });
    await bench.run((handle) => handle.result());
    expect(bench.count('checkBucket')).toBe(1);
    expect(bench.sent.at(-1)).toBe(5);
  });

  it('ends a dry run after the scan', async () => {
    const bench = new JobBench(env);
    bench.plan = { dryRun: true, verify: true, deletions: true };
    bench.large = [11];
    await bench.run((handle) => handle.result());
    expect(bench.count('scanFolder')).toBe(2);
    expect(bench.calls.filter((call) => /uploadFiles|nextLarge|Deletions|checkBucket/.test(call))).toEqual(
      [],
    );
  });
});

describe('uploadJob steered', () => {
  it('pauses batches and large files within moments, and goes on where it was', async () => {
    const bench = new JobBench(env);
    bench.large = [11];
    const first = new Set<number>();
    bench.activities.uploadFiles = async ({ batch }: BatchInput) => {
      bench.sent.push(batch);
      if (first.has(batch)) return bench.result();
      first.add(batch);
      return await untilTold(() => bench.result({ uploaded: 100, left: 400, finished: false }));
    };
    bench.activities.completeMultipartUpload = async ({ created, size }) => {
      await until(() => expect(bench.sent.length).toBeGreaterThan(2));
      return { etag: '"done"', size, token: created.token, checksumAccepted: true, bytesSent: 0 };
    };
    bench.batches = 2;
    await bench.run(async (handle) => {
      await until(() => expect(bench.sent).toHaveLength(2));
      await until(() => expect(bench.count('createMultipartUpload')).toBe(1));
      await handle.signal(pauseSignal);
      await inState(handle, 'PAUSED');
      const child = env.client.workflow.getHandle(uploadWorkflowId(bench.uploadId(11)));
      await until(async () => expect(await child.query('state')).toMatchObject({ state: 'PAUSED' }));
      await until(() => expect(bench.states().at(-1)).toMatch('PAUSED'));
      await handle.signal(resumeSignal);
      await handle.result();
    });
    expect(bench.sent.toSorted()).toEqual([1, 1, 2, 2]);
    expect(bench.settled).toMatchObject([{ file: 11, result: { etag: '"done"' } }]);
  });

  it.each(['our signal', 'Temporal’s own'])(
    'cancels by %s: children end, rows are settled, the run closes so',
    async (how) => {
      const bench = new JobBench(env);
      bench.large = [11];
      bench.activities.uploadFiles = () => untilTold(() => bench.result({ finished: false }));
      bench.activities.uploadParts = () =>
        untilTold(() => ({ ledger: '', partsDone: 0, bytesDone: 0, bytesSent: 0, finished: false }));
      await bench.run(async (handle) => {
        await until(() => expect(bench.count('uploadParts')).toBe(1));
        await until(() => expect(bench.count('uploadFiles')).toBe(2));
        await (how === 'our signal' ? handle.signal(cancelSignal) : handle.cancel());
        expect(await failureOf(handle)).toMatchObject({ name: 'CancelledFailure' });
        const child = await env.client.workflow.getHandle(uploadWorkflowId(bench.uploadId(11))).describe();
        expect(child.status.name).toBe('CANCELLED');
      });
      expect(bench.settled).toMatchObject([{ file: 11, cancelled: true }]);
      expect(bench.ends).toMatchObject([{ state: 'CANCELLED' }]);
      expect(bench.calls).toContain('abortMultipartUpload');
    },
  );

  it('cancels what an earlier run of it began', async () => {
    const bench = new JobBench(env);
    bench.batches = 24;
    bench.large = [11];
    bench.plan = { maxEvents: 60 };
    bench.activities.uploadParts = () =>
      untilTold(() => ({ ledger: '', partsDone: 0, bytesDone: 0, bytesSent: 0, finished: false }));
    bench.activities.followUpload = async ({ uploadId }) => {
      await env.client.workflow
        .getHandle(uploadWorkflowId(uploadId))
        .result()
        .catch(() => undefined);
      return { cancelled: true };
    };
    await bench.run(async (handle) => {
      await until(() => expect(bench.count('followUpload')).toBeGreaterThan(0));
      await env.client.workflow.getHandle(handle.workflowId).signal(cancelSignal);
      expect(await failureOf(handle)).toMatchObject({ name: 'CancelledFailure' });
    });
    expect(bench.settled).toMatchObject([{ file: 11, cancelled: true }]);
  });

  it('fails with what a batch says, cancels its uploads first, and says so in the catalog', async () => {
    const bench = new JobBench(env);
    bench.large = [11];
    bench.activities.uploadParts = () =>
      untilTold(() => ({ ledger: '', partsDone: 0, bytesDone: 0, bytesSent: 0, finished: false }));
    bench.activities.uploadFiles = async () => {
      await until(() => expect(bench.count('uploadParts')).toBe(1));
      return await failing('AccessDenied');
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'AccessDenied', nonRetryable: true });
      const memo = (await handle.describe()).memo as JobMemo;
      expect(memo.failure?.code).toBe('AccessDenied');
    });
    expect(bench.settled).toMatchObject([{ file: 11, cancelled: true }]);
    expect(bench.ends).toMatchObject([{ state: 'FAILED', failure: { code: 'AccessDenied' } }]);
  });

  it('waits as BLOCKED for a repair, and goes on when it is told to', async () => {
    const bench = new JobBench(env);
    let tries = 0;
    bench.activities.scanFolder = () =>
      tries++ === 0
        ? failing('RootUnavailable')
        : Promise.resolve({ done: true, batches: 1, large: 0, gone: 0, pending: 1 });
    await bench.run(async (handle) => {
      await inState(handle, 'BLOCKED');
      expect((await handle.query(jobStatusQuery)).failure).toMatchObject({ code: 'RootUnavailable' });
      await handle.signal(resumeSignal);
      await handle.result();
    });
    await until(() => expect(bench.states().some((state) => state.startsWith('BLOCKED'))).toBe(true));
  });

  it('is BLOCKED once no worker has its root for a minute, and goes on by itself when one comes', async () => {
    const bench = new JobBench(env);
    bench.root = false;
    await bench.run(async (handle) => {
      const blocked = { state: 'BLOCKED', failure: { code: 'NoWorkerForSource' } };
      await eventually(() => bench.reports.at(-1)?.state === 'BLOCKED', { timeout: 90_000 });
      expect(bench.reports.at(-1)).toMatchObject(blocked);
      const { nativeConnection: connection, namespace } = env;
      const activities = bench.recorded();
      const worker = await Worker.create({ connection, namespace, taskQueue: rootQueue(ROOT), activities });
      await worker.runUntil(handle.result());
    });
    expect(bench.ends).toMatchObject([{ state: 'COMPLETED' }]);
  });

  it('lets no deletions go beyond the guard but with a person’s word', async () => {
    const bench = new JobBench(env);
    bench.plan = { deletions: true };
    bench.activities.lookAtDeletions = () => Promise.resolve({ gone: 900, share: 0.9, tooMany: true });
    await bench.run(async (handle) => {
      await inState(handle, 'BLOCKED');
      expect((await handle.query(jobStatusQuery)).failure).toMatchObject({ code: 'TooManyDeletions' });
      await handle.signal(resumeSignal);
      await until(() => expect(bench.count('lookAtDeletions')).toBe(2));
      await inState(handle, 'BLOCKED');
      expect(bench.count('deleteGone')).toBe(0);
      await handle.signal(approveSignal);
      await handle.result();
    });
    expect(bench.count('deleteGone')).toBe(1);
  });

  it('refuses what is malformed instead of trying for ever', async () => {
    const bench = new JobBench(env);
    await bench.serving(async () => {
      const handle = await bench.start({
        definition: { ...DEFINITION, destination: { bucket: 'X', prefix: '' } },
      });
      expect(await failureOf(handle)).toMatchObject({ type: 'InvalidInput' });
    });
    expect(bench.calls).toEqual([]);
  });
});

describe('monitorJob', () => {
  const check = async (bench: JobBench): Promise<unknown> =>
    await env.client.workflow.execute('monitorJob', {
      args: [{ id: bench.id, job: 7, root: ROOT }],
      workflowId: checkWorkflowId(bench.id),
      taskQueue: 'orchestration',
    });

  it('costs one activity when nothing changed', async () => {
    const bench = new JobBench(env);
    expect(await bench.serving(() => check(bench))).toEqual({ changed: false, over: false });
    expect(bench.calls).toEqual(['checkFolder']);
    const { events = [] } = await env.client.workflow.getHandle(checkWorkflowId(bench.id)).fetchHistory();
    const queue = events?.find((event) => event.activityTaskScheduledEventAttributes !== null)
      ?.activityTaskScheduledEventAttributes?.taskQueue?.name;
    expect(queue).toBe(rootQueue(ROOT));
  });

  it('begins a run when something changed, and ends its schedule when nobody asks any more', async () => {
    const bench = new JobBench(env);
    bench.activities.checkFolder = () => Promise.resolve({ changed: true, over: bench.calls.length > 2 });
    await bench.serving(async () => {
      expect(await check(bench)).toEqual({ changed: true, over: false });
      expect(await check(bench)).toEqual({ changed: true, over: true });
    });
    expect(bench.calls).toEqual(['checkFolder', 'startSync', 'checkFolder', 'removeMonitor']);
  });

  it('fails with our code, so that the Web UI shows why', async () => {
    const bench = new JobBench(env);
    bench.activities.checkFolder = () => failing('RootUnavailable');
    await bench.serving(async () => {
      await expect(check(bench)).rejects.toMatchObject({ cause: { type: 'RootUnavailable' } });
    });
  });

  it('is no run of the job itself', () => {
    expect(checkWorkflowId('a')).not.toBe(jobWorkflowId('a'));
  });
});
