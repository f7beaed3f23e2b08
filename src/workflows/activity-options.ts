/** Named presets of time limits and retries. No other file sets one. */
import type { ActivityOptions } from '@temporalio/workflow';
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

/** Short calls to S3 or to a source. */
export const CONTROL: ActivityOptions = {
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: '24 hours',
  heartbeatTimeout: HEARTBEAT,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: RETRY,
};

/** Waits on a queue for as long as it takes until a worker is there, ahead of all that waits to be moved. */
export const PROBE: ActivityOptions = { startToCloseTimeout: '10 seconds', priority: { priorityKey: 1 } };

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
