/** The one way by which an activity's failure leaves it: an ApplicationFailure whose type is a code of core/errors. */
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { asyncLocalStorage, CompleteAsyncError, Context } from '@temporalio/activity';
import { LongshoreError, type FailureView } from '../core/errors.js';
import { scrub } from '../infra/telemetry/log.js';

export function viewOf(error: LongshoreError): FailureView {
  const { code, op, key, hint } = error;
  return { code, message: scrub(error.message), op, key, hint };
}

export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  if (error instanceof CompleteAsyncError) return error;
  const known =
    error instanceof LongshoreError
      ? error
      : new LongshoreError('Internal', describe(error), { op: 'activity', cause: error });
  const failure = viewOf(known);
  return ApplicationFailure.create({
    type: failure.code,
    message: failure.message,
    nonRetryable: known.retry !== 'retry' || (known.code === 'Internal' && attempts() >= DEFECT_ATTEMPTS),
    details: [failure],
  });
}

/** A defect of ours is no outage: what it hits again and again it will hit for ever. */
const DEFECT_ATTEMPTS = 10;

function attempts(): number {
  return asyncLocalStorage.getStore() === undefined ? 1 : Context.current().info.attempt;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

type AnyActivity = (...args: never[]) => Promise<unknown>;

/** The same activities, with failures mapped. */
export function mapFailures<A extends object>(activities: A): A {
  const mapped = Object.entries(activities).map(([name, activity]) => [
    name,
    async (...args: never[]) => {
      try {
        return await (activity as AnyActivity)(...args);
      } catch (error) {
        throw toFailure(error);
      }
    },
  ]);
  return Object.fromEntries(mapped) as A;
}
