/** A sweep's workflow on its own: its pages, its troubles, and how it goes on as another run. */
import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MaintenanceActivities } from '../../src/activities/maintenance.js';
import { QUEUES, SWEEP_SCHEDULE } from '../../src/core/ids.js';
import {
  SWEEP_WORKFLOW,
  type SweepBucketInput,
  type SweepInput,
  type SweepResult,
} from '../../src/core/maintenance.js';
import { ensureSweepSchedule, startSweep } from '../../src/infra/temporal/sweeps.js';
import { testNamespace, workflowBundle, type TestNamespace } from '../helpers/temporal.js';
import { eventually } from '../helpers/wait.js';

let temporal: TestNamespace;
beforeAll(async () => {
  temporal = await testNamespace();
});
afterAll(() => temporal.close());

const COUNTS = { aborted: 3, kept: 1, closed: 2, failed: 0 };
const PURGED = { secrets: 4, answers: 5, events: 6, findings: 7 };
const HOUR = 3_600_000;

interface Bench {
  /** What was asked of the activities, in order. */
  asked: string[];
  run(input?: Partial<SweepInput>): Promise<SweepResult>;
}

/** Workers with these activities; what a test does not give answers that there is nothing. */
async function bench<T>(
  activities: Partial<MaintenanceActivities>,
  body: (bench: Bench) => Promise<T>,
): Promise<T> {
  const asked: string[] = [];
  const all: MaintenanceActivities = {
    sweepBuckets: () => Promise.resolve([]),
    sweepRows: () => Promise.resolve(null),
    sweepJobs: () => Promise.resolve(null),
    sweepBucket: () => Promise.resolve({ strangers: 0, young: 0 }),
    purgeExpired: () => Promise.resolve(PURGED),
    countFindings: () => Promise.resolve(COUNTS),
    ...activities,
  };
  const told = Object.fromEntries(
    Object.entries(all).map(([name, activity]) => [
      name,
      (input: unknown) => {
        const { bucket, after } = (input ?? {}) as { bucket?: string; after?: string };
        asked.push([name, bucket ?? after].filter((each) => each !== undefined && each !== null).join(' '));
        return (activity as (input: unknown) => unknown)(input);
      },
    ]),
  );
  const common = { connection: await temporal.nativeConnection(), namespace: temporal.namespace };
  const workers = await Promise.all([
    Worker.create({ ...common, taskQueue: QUEUES.orchestration, workflowBundle: await workflowBundle() }),
    Worker.create({ ...common, taskQueue: QUEUES.transfer, activities: told }),
  ]);
  const running = workers.map((worker) => worker.run());
  try {
    return await body({
      asked,
      run: (input) =>
        temporal.client.workflow.execute(SWEEP_WORKFLOW, {
          args: [{ olderThanMs: HOUR, dryRun: false, steps: 300, ...input } satisfies SweepInput],
          workflowId: `sweep/${randomUUID()}`,
          taskQueue: QUEUES.orchestration,
        }) as Promise<SweepResult>,
    });
  } finally {
    for (const worker of workers) worker.shutdown();
    await Promise.all(running);
  }
}

/** Three pages of each bucket. */
function paged({
  marker,
}: SweepBucketInput): Promise<{ strangers: number; young: number; next?: { key: string } }> {
  const page = Number(marker?.key ?? 0) + 1;
  return Promise.resolve({ strangers: 10, young: 1, ...(page < 3 ? { next: { key: String(page) } } : {}) });
}

describe('a sweep', () => {
  it('looks at rows, then at every page of every bucket, then removes what expired', async () => {
    const names = ['a', 'b'];
    const pages = new Map<string | null, string | null>([
      [null, 'row-200'],
      ['row-200', null],
    ]);
    await bench(
      {
        sweepRows: ({ after }) => Promise.resolve(pages.get(after) ?? null),
        sweepBuckets: ({ after }) => Promise.resolve(names.filter((name) => name > (after ?? ''))),
        sweepBucket: paged,
      },
      async ({ asked, run }) => {
        const began = Date.now();
        const result = await run();
        expect(result).toEqual({
          ...{ ...COUNTS, dryRun: false, strangers: 60, young: 6, purged: PURGED, failures: [], troubles: 0 },
          cutoff: expect.any(String) as string,
        });
        expect(Math.abs(began - HOUR - Date.parse(result.cutoff))).toBeLessThan(60_000);
        const [a, b] = names.map((name) => Array<string>(3).fill(`sweepBucket ${name}`));
        expect(asked).toEqual([
          ...[
            'sweepRows',
            'sweepRows row-200',
            'sweepJobs',
            'sweepBuckets',
            ...(a ?? []),
            ...(b ?? []),
            'sweepBuckets b',
          ],
          ...['purgeExpired', 'countFindings'],
        ]);
      },
    );
  });

  it('goes on as another run before its history is long, and loses nothing of where it was', async () => {
    const names = Array.from({ length: 25 }, (_, n) => `bucket-${String(n).padStart(2, '0')}`);
    await bench(
      {
        sweepBuckets: ({ after }) =>
          Promise.resolve(names.filter((name) => name > (after ?? '')).slice(0, 10)),
        sweepBucket: paged,
      },
      async ({ asked, run }) => {
        expect(await run({ steps: 4 })).toMatchObject({ strangers: 750, young: 75, troubles: 0 });
        expect(asked.filter((each) => each.startsWith('sweepBucket bucket'))).toHaveLength(75);
        expect(asked.filter((each) => each === 'sweepRows')).toHaveLength(1);
        expect(asked.filter((each) => each === 'purgeExpired')).toHaveLength(1);
      },
    );
  });

  it('is kept by a bucket that refuses from none of the others', async () => {
    const refused = () => ApplicationFailure.nonRetryable('you may not list', 'AccessDenied');
    await bench(
      {
        sweepBuckets: ({ after }) => Promise.resolve(after === null ? ['a', 'b', 'c'] : []),
        sweepBucket: (input) => (input.bucket === 'b' ? Promise.reject(refused()) : paged(input)),
      },
      async ({ run }) => {
        expect(await run()).toMatchObject({
          ...{ strangers: 60, troubles: 1 },
          failures: [{ what: 'b', code: 'AccessDenied', message: 'you may not list' }],
        });
      },
    );
  });

  it('asks for nothing to be removed in a dry run, and looks into one bucket where it is told which', async () => {
    await bench({ sweepBucket: paged }, async ({ asked, run }) => {
      const result = await run({ dryRun: true, bucket: 'only' });
      expect(result).toMatchObject({ dryRun: true, strangers: 30, purged: { secrets: 0, answers: 0 } });
      const pages = Array<string>(3).fill('sweepBucket only');
      expect(asked).toEqual(['sweepRows only', 'sweepJobs only', ...pages, 'countFindings']);
    });
  });
});

describe('the schedule of sweeps', () => {
  it('is created, brought up to date, left paused, and removed', async () => {
    const { client } = temporal;
    const handle = client.schedule.getHandle(SWEEP_SCHEDULE);
    const ensure = (sweepIntervalMs: number) =>
      ensureSweepSchedule(client, { sweepIntervalMs, sweepAgeMs: 48 * HOUR }, 'here');
    await ensure(24 * HOUR);
    await handle.pause();
    await Promise.all([ensure(12 * HOUR), ensure(12 * HOUR)]);
    const { spec, state, policies, action } = await handle.describe();
    expect(spec.intervals?.[0]?.every).toBe(12 * HOUR);
    expect(state.paused).toBe(true);
    expect(policies).toMatchObject({ overlap: 'SKIP', catchupWindow: 600_000 });
    expect(action).toMatchObject({
      workflowType: SWEEP_WORKFLOW,
      args: [{ olderThanMs: 48 * HOUR, dryRun: false }],
    });
    await ensure(0);
    await expect(handle.describe()).rejects.toThrow();
    await ensure(0);
  });

  it('starts a sweep when it is triggered, under an id of its own', async () => {
    const { client } = temporal;
    await bench({}, async ({ asked }) => {
      await ensureSweepSchedule(client, { sweepIntervalMs: HOUR, sweepAgeMs: HOUR }, 'here');
      await client.schedule.getHandle(SWEEP_SCHEDULE).trigger();
      await eventually(() => asked.includes('countFindings'), { timeout: 30_000 });
      await client.schedule.getHandle(SWEEP_SCHEDULE).delete();
    });
  });

  it('is no part of a sweep that somebody asks for', async () => {
    await bench({}, async () => {
      const id = randomUUID();
      const handle = await startSweep(temporal.client, { id, olderThanMs: 0, dryRun: true, bucket: 'some' });
      expect(handle.workflowId).toBe(`sweep/${id}`);
      expect(await handle.result()).toMatchObject({ dryRun: true });
    });
  });
});
