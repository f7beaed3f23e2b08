/** What an upload can live through: each case is recorded once, with activities that move no byte. */
import { CancelledFailure } from '@temporalio/activity';
import type { WorkflowHandle } from '@temporalio/client';
import type { OrchestrationActivities } from '../../src/activities/catalog.js';
import type { TransferActivities } from '../../src/activities/uploads.js';
import {
  cancelSignal,
  pauseSignal,
  progressQuery,
  resumeSignal,
  stateQuery,
  type UploadObjectInput,
  type UploadResult,
} from '../../src/core/uploads.js';
import type { UploadState } from '../../src/core/states.js';
import {
  failing,
  stored,
  until,
  untilStopped,
  windowResult,
  type Bench,
} from '../../test/helpers/upload-bench.js';

type Handle = WorkflowHandle<(input: UploadObjectInput) => Promise<UploadResult>>;

export interface Case {
  /** How the run has to close, so that nothing else is taken for it. */
  closes: 'COMPLETED' | 'FAILED' | 'CANCELLED';
  prepare?: (bench: Bench) => void;
  /** What a person does meanwhile. */
  steer?: (handle: Handle, bench: Bench) => Promise<void>;
}

/** Names of the files in test/replay/histories, behind `uploadObject-`. */
export const CASES: Readonly<Record<string, Case>> = {
  'completed-put': { closes: 'COMPLETED', prepare: asPut },
  'completed-multipart': { closes: 'COMPLETED' },
  'paused-resumed': {
    closes: 'COMPLETED',
    prepare: (bench) =>
      stopOnce(bench, ({ first, last }) =>
        windowResult({ first, last: Math.min(last, first + 39) }, { finished: false }),
      ),
    steer: async (handle, bench) => {
      await windowsRun(bench, 2);
      await handle.signal(pauseSignal);
      await untilOpen(handle, 2);
      await handle.signal(resumeSignal);
    },
  },
  'blocked-resumed': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      let tries = 0;
      bench.transfer.createMultipartUpload = ({ token }) =>
        tries++ === 0
          ? failing('ExpiredCredentials')
          : Promise.resolve({ s3UploadId: 'mpu', token, before: 'absent' });
    },
    steer: async (handle) => {
      await untilState(handle, 'BLOCKED');
      await handle.signal(resumeSignal);
    },
  },
  'restarted-after-no-such-upload': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      let lost = false;
      bench.transfer.uploadParts = ({ window }) => {
        if (lost || window.first === 1) return Promise.resolve(windowResult(window));
        lost = true;
        return failing('NoSuchUpload');
      };
    },
  },
  'failed-source-changed': {
    closes: 'FAILED',
    prepare: (bench) => {
      bench.transfer.uploadParts = ({ window }) =>
        window.first === 1 ? Promise.resolve(windowResult(window)) : failing('SourceChanged');
    },
  },
  'cancelled-by-signal': {
    closes: 'CANCELLED',
    prepare: (bench) => stopOnce(bench),
    steer: async (handle, bench) => {
      await windowsRun(bench, 2);
      await handle.signal(cancelSignal);
    },
  },
  'cancelled-by-temporal': {
    closes: 'CANCELLED',
    prepare: (bench) => stopOnce(bench),
    steer: async (handle, bench) => {
      await windowsRun(bench, 2);
      await handle.cancel();
    },
  },
  'cancelled-while-paused': {
    closes: 'CANCELLED',
    prepare: (bench) => stopOnce(bench),
    steer: async (handle, bench) => {
      await windowsRun(bench, 2);
      await handle.signal(pauseSignal);
      await untilOpen(handle, 2);
      await handle.signal(cancelSignal);
    },
  },
  'cancelled-too-late': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      bench.transfer.completeMultipartUpload = async () => {
        await untilStopped(windowResult({ first: 1, last: 1 }));
        throw new CancelledFailure('gave up waiting for the answer');
      };
      bench.transfer.settleObject = ({ token }) => Promise.resolve(stored(7, token));
    },
    steer: async (handle, bench) => {
      await until(() => assert(bench.calls.includes('completeMultipartUpload'), 'Complete has begun'));
      await handle.signal(cancelSignal);
    },
  },
};

function asPut(bench: Bench): void {
  const inspection = { ...bench.inspection(), plan: { kind: 'put' as const, size: 1 } };
  const whole: Partial<TransferActivities & OrchestrationActivities> = {
    inspectSource: () => Promise.resolve(inspection),
  };
  Object.assign(bench.transfer, whole);
}

/** The first windows move nothing until they are told to stop, and then return what `half` says. */
function stopOnce(
  bench: Bench,
  half = (window: { first: number; last: number }) =>
    windowResult({ ...window, last: window.first }, { finished: false }),
): void {
  bench.transfer.uploadParts = ({ window, known }) =>
    known === undefined && window.first <= 129
      ? untilStopped(half(window))
      : Promise.resolve(windowResult(window));
}

async function windowsRun({ calls }: Bench, count: number): Promise<void> {
  await until(() => assert(calls.filter((call) => call === 'uploadParts').length >= count, 'windows run'));
}

async function untilState(handle: Handle, state: UploadState): Promise<void> {
  await until(async () => assert((await handle.query(stateQuery)).state === state, state));
}

/** So many windows returned what they had. */
async function untilOpen(handle: Handle, windows: number): Promise<void> {
  await until(async () => {
    const { open = {} } = await handle.query(progressQuery);
    assert(Object.keys(open).length === windows, `${windows} windows stopped`);
  });
}

function assert(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not yet: ${what}`);
}
