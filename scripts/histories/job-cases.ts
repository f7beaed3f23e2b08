/** What a job can live through: each case is recorded once, with activities that move no byte. */
import { CancelledFailure, Context } from '@temporalio/activity';
import { approveSignal, jobStatusQuery } from '../../src/core/jobs.js';
import { cancelSignal, pauseSignal, resumeSignal } from '../../src/core/uploads.js';
import type { JobState } from '../../src/core/states.js';
import type { JobActivities, JobBench, JobHandle } from '../../test/helpers/job-bench.js';
import { failing, until } from '../../test/helpers/upload-bench.js';

export interface JobCase {
  /** How the recorded run has to close, so that nothing else is taken for it. */
  closes: 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'CONTINUED_AS_NEW';
  prepare?: (bench: JobBench) => void;
  /** What a person does meanwhile. */
  steer?: (handle: JobHandle, bench: JobBench) => Promise<void>;
}

/** Names of the files in test/replay/histories, behind `uploadJob-`. */
export const JOB_CASES: Readonly<Record<string, JobCase>> = {
  completed: {
    closes: 'COMPLETED',
    prepare: (bench) => (bench.large = [11, 12, 13]),
  },
  'completed-in-rounds': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      bench.plan = { verify: true, deletions: true };
      bench.activities.uploadFiles = ({ batch }) =>
        Promise.resolve(bench.result({ left: batch <= 2 ? 1 : 0 }));
      bench.activities.regroup = () => Promise.resolve({ batches: (bench.batches += 1), pending: 1 });
      bench.activities.checkBucket = () => Promise.resolve({ again: 1 });
    },
  },
  'completed-monitored': {
    closes: 'COMPLETED',
    prepare: (bench) => (bench.plan = { monitor: true }),
  },
  'deletions-approved': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      bench.plan = { deletions: true };
      bench.activities.lookAtDeletions = () => Promise.resolve({ gone: 9, share: 0.9, tooMany: true });
    },
    steer: async (handle) => {
      await untilState(handle, 'BLOCKED');
      await handle.signal(approveSignal);
    },
  },
  'paused-resumed': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      bench.large = [11];
      bench.activities.uploadFiles = stopOnce(bench);
      bench.activities.completeMultipartUpload = async ({ created, size }) => {
        await until(() => assert(bench.count('uploadFiles') > 2, 'it goes on'));
        return { etag: '"done"', size, token: created.token, checksumAccepted: true, bytesSent: 0 };
      };
    },
    steer: async (handle, bench) => {
      await until(() => assert(bench.count('uploadFiles') === 2, 'batches run'));
      await until(() => assert(bench.calls.includes('completeMultipartUpload'), 'the upload runs'));
      await handle.signal(pauseSignal);
      await untilState(handle, 'PAUSED');
      await until(() =>
        assert(
          bench.states().some((state) => state.startsWith('PAUSED')),
          'the row says so',
        ),
      );
      await handle.signal(resumeSignal);
    },
  },
  failed: {
    closes: 'FAILED',
    prepare: (bench) => {
      bench.activities.uploadFiles = ({ batch }) =>
        batch === 2 ? failing('AccessDenied') : Promise.resolve(bench.result());
    },
  },
  'cancelled-by-signal': {
    closes: 'CANCELLED',
    prepare: runForEver,
    steer: async (handle, bench) => {
      await running(bench);
      await handle.signal(cancelSignal);
    },
  },
  'cancelled-by-temporal': {
    closes: 'CANCELLED',
    prepare: runForEver,
    steer: async (handle, bench) => {
      await running(bench);
      await handle.cancel();
    },
  },
  'continued-first': { closes: 'CONTINUED_AS_NEW', prepare: continueOnce, steer: letGo },
  'continued-last': { closes: 'COMPLETED', prepare: continueOnce, steer: letGo },
};

/** The first two batches send nothing until they are told to stop. */
function stopOnce(bench: JobBench): JobActivities['uploadFiles'] {
  const begun = new Set<number>();
  return async ({ batch }) => {
    if (begun.size === 2) return bench.result();
    begun.add(batch);
    return await untilTold(() => bench.result({ uploaded: 1, left: 499, finished: false }));
  };
}

function runForEver(bench: JobBench): void {
  bench.large = [11];
  bench.activities.uploadFiles = () => untilTold(() => bench.result({ finished: false }));
  bench.activities.uploadParts = () =>
    untilTold(() => ({ ledger: '', partsDone: 0, bytesDone: 0, bytesSent: 0, finished: false }));
}

async function running(bench: JobBench): Promise<void> {
  await until(() => assert(bench.count('uploadFiles') === 2, 'batches run'));
  await until(() => assert(bench.count('uploadParts') === 1, 'the upload runs'));
}

/** Its large file is on its way when the first run is full. */
function continueOnce(bench: JobBench): void {
  bench.batches = 8;
  bench.large = [11];
  bench.plan = { maxEvents: 50 };
  bench.activities.completeMultipartUpload = async ({ created, size }) => {
    await until(() => assert(bench.calls.includes('followUpload'), 'the next run follows it'));
    return { etag: '"done"', size, token: created.token, checksumAccepted: true, bytesSent: 0 };
  };
}

async function letGo(handle: JobHandle): Promise<void> {
  await handle.result();
}

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

async function untilState(handle: JobHandle, state: JobState): Promise<void> {
  await until(async () => assert((await handle.query(jobStatusQuery)).state === state, state));
}

function assert(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not yet: ${what}`);
}
