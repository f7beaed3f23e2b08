/** The one place where activities are counted and timed: around each attempt, whatever it does. */
import type { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { BatchResult } from '../core/job-steps.js';
import type { ActivityMeter } from '../infra/telemetry/meter.js';

export function meteredActivities(meter: ActivityMeter): ActivityInterceptorsFactory {
  return ({ info }) => ({
    inbound: {
      async execute(input, next) {
        const { activityType, attempt, taskQueue } = info;
        const began = performance.now();
        meter.began(activityType, taskQueue, attempt, waited(info));
        const ended = (outcome: string): void =>
          meter.ended(activityType, outcome, (performance.now() - began) / 1000);
        try {
          const result = await next(input);
          ended('ok');
          told(meter, activityType, result);
          return result;
        } catch (error) {
          ended(outcomeOf(error));
          throw error;
        }
      },
    },
  });
}

/** Clocks of server and worker may differ: never less than nothing. */
function waited({ currentAttemptScheduledTimestampMs }: Context['info']): number {
  return Math.max(0, Date.now() - currentAttemptScheduledTimestampMs) / 1000;
}

function outcomeOf(error: unknown): string {
  if (error instanceof ApplicationFailure) return error.type ?? 'Internal';
  return error instanceof CancelledFailure ? 'Cancelled' : 'Internal';
}

function told(meter: ActivityMeter, activity: string, result: unknown): void {
  if (activity === 'putObject') meter.moved('put', 1, 0);
  else if (activity === 'completeMultipartUpload') meter.moved('multipart', 1, 0);
  else if (activity === 'uploadFiles') {
    const { uploaded, failed } = result as BatchResult;
    meter.moved('batch', uploaded, failed);
  }
}
