/** Runs of what stands beside uploads and jobs, the sweep and the relay, to be recorded. */
import { ApplicationFailure } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import type { MaintenanceActivities } from '../../src/activities/maintenance.js';
import type { RelayActivities } from '../../src/activities/relay.js';
import { RELAY_WORKFLOW, type RelayInput } from '../../src/core/events.js';
import { QUEUES } from '../../src/core/ids.js';
import { SWEEP_WORKFLOW, type SweepInput } from '../../src/core/maintenance.js';
import type { BenchServer } from '../../test/helpers/upload-bench.js';
import type { History } from '../../test/helpers/histories.js';

type Activities = MaintenanceActivities & RelayActivities;

/** `closes`: how the first run of it closes, which is the one that is recorded. */
export interface StandingCase {
  workflow: string;
  input: SweepInput | RelayInput;
  closes: 'COMPLETED' | 'CONTINUED_AS_NEW';
  activities?: Partial<Activities>;
}

const refused = (): Promise<never> =>
  Promise.reject(ApplicationFailure.nonRetryable('may not list', 'AccessDenied'));

const SWEEP: SweepInput = { olderThanMs: 3_600_000, dryRun: false, steps: 300 };

/** Two pages of rows and of one bucket, and a bucket that refuses. */
const FULL: Partial<Activities> = {
  sweepRows: ({ after }) => Promise.resolve(after === null ? 'row-1' : null),
  sweepBuckets: ({ after }) => Promise.resolve(after === null ? ['one', 'two'] : []),
  sweepBucket: ({ bucket, marker }) =>
    bucket === 'two'
      ? refused()
      : Promise.resolve({
          ...{ strangers: 1, young: 1 },
          ...(marker === undefined ? { next: { key: 'k', s3UploadId: 'u' } } : {}),
        }),
};

export const STANDING_CASES: Readonly<Record<string, StandingCase>> = {
  'sweepAbandonedUploads-completed': {
    ...{ workflow: SWEEP_WORKFLOW, input: SWEEP, closes: 'COMPLETED', activities: FULL },
  },
  'sweepAbandonedUploads-dry-run-of-a-bucket': {
    workflow: SWEEP_WORKFLOW,
    input: { ...SWEEP, dryRun: true, bucket: 'one' },
    closes: 'COMPLETED',
    activities: FULL,
  },
  'sweepAbandonedUploads-continued': {
    workflow: SWEEP_WORKFLOW,
    input: { ...SWEEP, steps: 3 },
    closes: 'CONTINUED_AS_NEW',
    activities: FULL,
  },
  'relayEvents-continued': {
    workflow: RELAY_WORKFLOW,
    input: { sink: 'kafka' },
    closes: 'CONTINUED_AS_NEW',
    activities: { relayEvents: () => Promise.resolve({ known: true, sent: 1, dead: 0 }) },
  },
  // The pause between its two goes is a minute.
  'relayEvents-over': {
    workflow: RELAY_WORKFLOW,
    input: { sink: 'webhook', unknown: 58 },
    closes: 'COMPLETED',
  },
};

/** Records the first run of a case, and ends what goes on after it. */
export async function recordStanding(
  { client, namespace, nativeConnection, bundle }: BenchServer,
  name: string,
  { workflow, input, closes, activities }: StandingCase,
): Promise<History> {
  const all: Activities = {
    sweepBuckets: () => Promise.resolve([]),
    sweepRows: () => Promise.resolve(null),
    sweepJobs: () => Promise.resolve(null),
    sweepBucket: () => Promise.resolve({ strangers: 0, young: 0 }),
    purgeExpired: () => Promise.resolve({ secrets: 1, answers: 2, events: 3, findings: 4 }),
    countFindings: () => Promise.resolve({ aborted: 1, kept: 2, closed: 3, failed: 0 }),
    relayEvents: () => Promise.resolve({ known: false, sent: 0, dead: 0 }),
    ...activities,
  };
  const common = { connection: nativeConnection, namespace, activities: all };
  const workers = await Promise.all([
    Worker.create({ ...common, taskQueue: QUEUES.orchestration, workflowBundle: bundle }),
    Worker.create({ ...common, taskQueue: QUEUES.transfer }),
  ]);
  const running = workers.map((worker) => worker.run());
  try {
    const handle = await client.workflow.start(workflow, {
      ...{ args: [input], workflowId: name, taskQueue: QUEUES.orchestration },
    });
    const first = client.workflow.getHandle(name, handle.firstExecutionRunId, { followRuns: false });
    // How it closed is looked at below; that it continued as new is an error to who does not follow.
    await first.result().catch(() => undefined);
    const { status } = await first.describe();
    if (status.name !== closes) throw new Error(`${name} closed as ${status.name}, not as ${closes}`);
    const history = await first.fetchHistory();
    const { status: now } = await client.workflow.getHandle(name).describe();
    if (now.name === 'RUNNING') await client.workflow.getHandle(name).terminate('recorded');
    return history;
  } finally {
    for (const worker of workers) worker.shutdown();
    await Promise.all(running);
  }
}
