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
import {
  begunSignal,
  COMPLETE_UPDATE,
  lostSignal,
  OPENED_UPDATE,
  type CompleteAsk,
  type CompletionAnswer,
} from '../../src/core/sessions.js';
import type { UploadState } from '../../src/core/states.js';
import {
  failing,
  sessionSource,
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

/** Sessions: what a client brings. Names of the files behind `uploadObject-session-`. */
export const SESSION_CASES: Readonly<Record<string, Case>> = {
  completed: {
    closes: 'COMPLETED',
    prepare: (bench) => {
      asSession(bench);
      let asks = 0;
      const incomplete = { missing: [1], missingCount: 1, surplus: [], message: 'missing of 3 chunks: 1' };
      bench.transfer.completeSession = ({ created }) =>
        Promise.resolve(asks++ === 0 ? { incomplete } : { stored: stored(7, created.token), parts: 3 });
    },
    steer: async (handle) => {
      await handle.executeUpdate(OPENED_UPDATE);
      await handle.signal(begunSignal);
      await untilState(handle, 'UPLOADING');
      await complete(handle, { chunks: 3 });
      await complete(handle, { chunks: 3 });
    },
  },
  'completed-whole': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      asSession(bench, { mode: 'whole' });
      let looks = 0;
      bench.transfer.settleObject = ({ token }) => Promise.resolve(looks++ === 0 ? null : stored(7, token));
    },
  },
  // What was seen is gone once nobody may send it again; the next is waited for, and counts.
  'reopened-whole': {
    closes: 'COMPLETED',
    prepare: (bench) => {
      asSession(bench, { mode: 'whole' });
      const seen = [7, undefined, 8];
      bench.transfer.settleObject = ({ token }) => {
        const size = seen.length > 1 ? seen.shift() : seen[0];
        return Promise.resolve(size === undefined ? null : stored(size, token));
      };
      bench.transfer.setSessionOpen = ({ turn }) => Promise.resolve(turn === 3 ? 50 : 0);
    },
  },
  'cancelled-whole': {
    closes: 'CANCELLED',
    prepare: (bench) => asSession(bench, { mode: 'whole' }),
    steer: async (handle) => {
      await handle.executeUpdate(OPENED_UPDATE);
      await handle.signal(cancelSignal);
    },
  },
  'expired-whole': {
    closes: 'FAILED',
    prepare: (bench) => asSession(bench, { mode: 'whole', ttlMs: 1000 }),
  },
  'completed-after-loss': {
    closes: 'COMPLETED',
    prepare: (bench) => asSession(bench),
    steer: async (handle) => {
      await handle.executeUpdate(OPENED_UPDATE);
      await handle.signal(lostSignal, 1);
      await complete(handle, {});
    },
  },
  'cancelled-by-signal': {
    closes: 'CANCELLED',
    prepare: (bench) => asSession(bench),
    steer: async (handle) => {
      await handle.executeUpdate(OPENED_UPDATE);
      await handle.signal(cancelSignal);
    },
  },
  // An attempt to begin it had written down what it began, and died.
  'cancelled-before-begun': {
    closes: 'CANCELLED',
    prepare: (bench) => {
      asSession(bench);
      bench.transfer.beginSession = () => failing('S3Unavailable');
      bench.transfer.findBegun = () => Promise.resolve('of an attempt that died');
    },
    steer: async (handle, bench) => {
      await until(() => assert(bench.calls.includes('beginSession'), 'it is being begun'));
      await handle.signal(cancelSignal);
    },
  },
  'cancelled-by-temporal': {
    closes: 'CANCELLED',
    prepare: (bench) => {
      asSession(bench);
      bench.transfer.completeSession = async () => {
        await untilStopped(windowResult({ first: 1, last: 1 }));
        throw new CancelledFailure('stopped');
      };
    },
    steer: async (handle, bench) => {
      await handle.executeUpdate(OPENED_UPDATE);
      const refused = complete(handle, {}).then(
        () => assert(false, 'refused'),
        () => undefined,
      );
      await until(() => assert(bench.calls.includes('completeSession'), 'it is being completed'));
      await handle.cancel();
      await refused;
    },
  },
  expired: {
    closes: 'FAILED',
    prepare: (bench) => {
      asSession(bench, { ttlMs: 1000 });
      const left = [500, 0];
      bench.transfer.lifeLeft = () => Promise.resolve(left.shift() ?? 0);
    },
  },
  'failed-outcome-unknown': {
    closes: 'FAILED',
    prepare: (bench) => {
      asSession(bench);
      bench.transfer.completeSession = () => failing('OutcomeUnknown');
    },
    steer: async (handle) => {
      await complete(handle, {}).then(
        () => assert(false, 'refused'),
        () => undefined,
      );
    },
  },
};

function asSession(bench: Bench, change: Parameters<typeof sessionSource>[0] = {}): void {
  bench.source = sessionSource(change);
}

function complete(handle: Handle, ask: CompleteAsk): Promise<CompletionAnswer> {
  return handle.executeUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE, { args: [ask] });
}

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
