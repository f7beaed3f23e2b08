/** From what Temporal says of a run to what Longshore says of an upload. */
import type { WorkflowExecutionDescription, WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { ERRORS, isErrorCode, LongshoreError, type FailureView } from '../core/errors.js';
import { UPLOAD_STATES, type UploadState } from '../core/states.js';
import type { UploadProgress, UploadResult } from '../core/uploads.js';

export function finalProgress({ size, parts, bytesSent }: UploadResult): UploadProgress {
  return { bytesDone: size, bytesTotal: size, bytesSent, partsDone: parts, partsTotal: parts };
}

export function conflict(workflowId: string, cause?: Error): LongshoreError {
  const message = `${workflowId} belongs to an upload with another input`;
  return new LongshoreError('Conflict', message, { op: 'start', key: workflowId, cause });
}

/** What Temporal says outweighs what the workflow said last: it may have been terminated. */
export function stateOf(description: WorkflowExecutionDescription, said: string | undefined): UploadState;
export function stateOf<State extends string>(
  description: WorkflowExecutionDescription,
  said: string | undefined,
  states: readonly State[],
): State | 'PENDING' | 'COMPLETED' | 'CANCELLED' | 'FAILED';
export function stateOf(
  { status }: WorkflowExecutionDescription,
  said: string | undefined,
  states: readonly string[] = UPLOAD_STATES,
): string {
  switch (status.name) {
    case 'COMPLETED':
      return 'COMPLETED';
    case 'CANCELLED':
      return 'CANCELLED';
    case 'FAILED':
      return said === 'EXPIRED' && states.includes(said) ? said : 'FAILED';
    case 'TERMINATED':
    case 'TIMED_OUT':
      return 'FAILED';
    default:
      return states.find((state) => state === said) ?? 'PENDING';
  }
}

export function fromWorkflow(
  id: string,
  error: WorkflowFailedError,
  noun: 'upload' | 'job' | 'sweep' = 'upload',
): LongshoreError {
  const { cause } = error;
  const context = { op: noun, key: id, cause: error };
  if (cause instanceof CancelledFailure)
    return new LongshoreError('Cancelled', `the ${noun} ${id} was cancelled`, context);
  if (cause instanceof TerminatedFailure)
    return new LongshoreError('Terminated', terminated(id, noun).message, context);
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const [view] = (cause.details ?? []) as (FailureView | undefined)[];
    return new LongshoreError(cause.type, cause.message, {
      op: view?.op ?? noun,
      key: view?.key ?? id,
      hint: view?.hint ?? ERRORS[cause.type].hint,
      cause: error,
    });
  }
  return new LongshoreError('Internal', cause?.message ?? error.message, context);
}

/** Nobody asked the workflow, so nothing was undone. */
export function terminated(id: string, noun: 'upload' | 'job' | 'sweep' = 'upload'): FailureView {
  const message = `the ${noun} ${id} was terminated in Temporal`;
  return { code: 'Terminated', message, op: noun, key: id, hint: ERRORS.Terminated.hint };
}
