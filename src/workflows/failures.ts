/** From what an activity threw to a code of core/errors. Workflow code throws nothing but ApplicationFailure. */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import { ERRORS, isErrorCode, type ErrorCode, type FailureView } from '../core/errors.js';

export function failureOf(error: unknown): FailureView {
  const known = findKnown(error);
  if (known !== undefined) return known;
  const message = error instanceof Error ? error.message : String(error);
  if (isUnclaimed(error)) return view('NoWorkerForSource', message);
  const late = error instanceof ActivityFailure && error.cause instanceof TimeoutFailure;
  return view(late ? 'S3Unavailable' : 'Internal', message);
}

/** A failure that another try may not meet: what the retry policy would have tried again. */
export function isPassing(error: unknown): boolean {
  return ERRORS[failureOf(error).code].retry === 'retry';
}

/** The task lay on its queue and no worker took it. */
export function isUnclaimed(error: unknown): boolean {
  return (
    error instanceof ActivityFailure &&
    error.cause instanceof TimeoutFailure &&
    error.cause.timeoutType === 'SCHEDULE_TO_START'
  );
}

export function view(code: ErrorCode, message: string): FailureView {
  return { code, message, hint: ERRORS[code].hint };
}

/** A failure after which the multipart upload could not be aborted either. */
export function withLeftover(failure: FailureView, left: FailureView): FailureView {
  const message = `${failure.message}; its multipart upload is left in S3, for the abort failed (${left.code}: ${left.message})`;
  return { ...failure, message };
}

export function toApplicationFailure(failure: FailureView): ApplicationFailure {
  return ApplicationFailure.nonRetryable(failure.message, failure.code, failure);
}

function findKnown(error: unknown): FailureView | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof ApplicationFailure && isErrorCode(at.type)) {
      const [details] = (at.details ?? []) as (FailureView | undefined)[];
      return details ?? view(at.type, at.message);
    }
  }
  return undefined;
}
