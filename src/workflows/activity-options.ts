/** Named presets of time limits and retries. No other file sets one. */
import type { ActivityOptions, LocalActivityOptions } from '@temporalio/workflow';
import { ActivityCancellationType } from '@temporalio/workflow';

/** Failures that can be retried are retried at most every minute; codes that cannot are thrown as non-retryable. */
const RETRY = {
  initialInterval: '500 milliseconds',
  backoffCoefficient: 2,
  maximumInterval: '60 seconds',
} as const;

/** A worker that was killed is missed after this long. */
const HEARTBEAT = '8 seconds';

/** No byte moves slower than this for long; below it, a window is given to another attempt. Bytes a second. */
const FLOOR_RATE = 256 * 1024;

/** Writes to the catalog: they wait for PostgreSQL as long as it takes. */
export const CATALOG: ActivityOptions = {
  taskQueue: 'orchestration',
  startToCloseTimeout: '10 seconds',
  retry: RETRY,
};

/**
 * The same in the worker that runs the workflow, without a way by Temporal: many short workflows with a client that waits
 * would spend most of their time there. Tried once, for a moment: meanwhile the workflow hears of nothing else, and an
 * attempt that is tried again leaves its timer to a worker that may be gone by then (the SDK's core panics).
 */
export const CATALOG_HERE: LocalActivityOptions = {
  startToCloseTimeout: '2 seconds',
  retry: { maximumAttempts: 1 },
};

/** Short calls to S3 or to a source. */
export const CONTROL: ActivityOptions = {
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: '24 hours',
  heartbeatTimeout: HEARTBEAT,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: RETRY,
};

/** Somebody waits for the answer: ahead of all that waits to be moved. */
export const URGENT: ActivityOptions = { priority: { priorityKey: 1 } };

/** Waits on a queue for as long as it takes until a worker is there, ahead of all that waits to be moved. */
export const PROBE: ActivityOptions = { startToCloseTimeout: '10 seconds', ...URGENT };

/** Undoing: never given up, for what it leaves costs money. */
export const UNDO: ActivityOptions = {
  taskQueue: 'transfer',
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: HEARTBEAT,
  retry: RETRY,
};

/** Moving `bytes`; null when nobody knows how many. */
export function moving(bytes: number | null): ActivityOptions {
  const seconds = bytes === null ? 24 * 3600 : 600 + Math.ceil(bytes / FLOOR_RATE);
  return {
    ...CONTROL,
    startToCloseTimeout: `${seconds} seconds`,
    scheduleToCloseTimeout: `${seconds + 24 * 3600} seconds`,
  };
}

/** How long a task may wait on a queue that only some workers poll, before the upload says so. */
export const ROOT_QUEUE_WAIT = '60 seconds';
/** The same once a worker answered: it is there, and busy. */
export const BUSY_QUEUE_WAIT = '30 minutes';

// ── Upload jobs ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Statements over all files of a job. */
export const CATALOG_LONG: ActivityOptions = {
  ...CATALOG,
  startToCloseTimeout: '1 minute',
  scheduleToCloseTimeout: '24 hours',
};

/** Reads a folder, or compares it with something. What was found is kept, so another attempt goes on from there. */
export const WALK: ActivityOptions = {
  ...CONTROL,
  startToCloseTimeout: '6 hours',
  scheduleToCloseTimeout: '48 hours',
};

/** A batch of files, as slowly as the job's limits want it; what was sent stays sent. */
export const BATCH: ActivityOptions = {
  ...CONTROL,
  startToCloseTimeout: '24 hours',
  scheduleToCloseTimeout: '48 hours',
};

/** Waits for an upload of its own, however long that takes. */
export const FOLLOW: ActivityOptions = {
  taskQueue: 'orchestration',
  startToCloseTimeout: '30 days',
  scheduleToCloseTimeout: '30 days',
  heartbeatTimeout: HEARTBEAT,
  retry: RETRY,
};

/** A look at a monitored folder: the next one comes soon, so this one is given up early. */
export const CHECK: ActivityOptions = {
  startToCloseTimeout: '1 hour',
  scheduleToStartTimeout: '10 minutes',
  scheduleToCloseTimeout: '2 hours',
  heartbeatTimeout: HEARTBEAT,
  retry: { ...RETRY, maximumAttempts: 5 },
};

/** A file that changed while it was sent is left alone for so long. */
export const CHANGED_FILE_PAUSE = '5 seconds';

// ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** A go of a relay ends by itself well before its time; a sink that is away it waits for by itself. */
export const RELAY: ActivityOptions = {
  taskQueue: 'orchestration',
  startToCloseTimeout: '20 minutes',
  heartbeatTimeout: HEARTBEAT,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { ...RETRY, maximumInterval: '15 seconds' },
};

/** Between two goes of which the first could do nothing. */
export const RELAY_PAUSE = '1 minute';

// ── Maintenance ──────────────────────────────────────────────────────────────────────────────────────────────────

/** A page of a sweep. What it cannot do today, tomorrow's does. */
export const SWEEP: ActivityOptions = {
  taskQueue: 'transfer',
  startToCloseTimeout: '1 hour',
  scheduleToCloseTimeout: '12 hours',
  heartbeatTimeout: HEARTBEAT,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { ...RETRY, maximumAttempts: 8 },
  priority: { priorityKey: 5 },
};
