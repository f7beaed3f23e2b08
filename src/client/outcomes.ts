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
export function stateOf({ status }: WorkflowExecutionDescription, said: string | undefined): UploadState {
  switch (status.name) {
    case 'COMPLETED':
      return 'COMPLETED';
    case 'CANCELLED':
      return 'CANCELLED';
    case 'FAILED':
    case 'TERMINATED':
    case 'TIMED_OUT':
      return 'FAILED';
    default:
      return UPLOAD_STATES.find((state) => state === said) ?? 'PENDING';
  }
}

export function fromWorkflow(id: string, error: WorkflowFailedError): LongshoreError {
  const { cause } = error;
  const context = { op: 'upload', key: id, cause: error };
  if (cause instanceof CancelledFailure)
    return new LongshoreError('Cancelled', `the upload ${id} was cancelled`, context);
  if (cause instanceof TerminatedFailure)
    return new LongshoreError('Terminated', terminated(id).message, context);
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const [view] = (cause.details ?? []) as (FailureView | undefined)[];
    return new LongshoreError(cause.type, cause.message, {
      op: view?.op ?? 'upload',
      key: view?.key ?? id,
      hint: view?.hint ?? ERRORS[cause.type].hint,
      cause: error,
    });
  }
  return new LongshoreError('Internal', cause?.message ?? error.message, context);
}

/** Nobody asked the workflow, so nothing was undone. */
export function terminated(id: string): FailureView {
  const message = `the upload ${id} was terminated in Temporal`;
  return { code: 'Terminated', message, op: 'upload', key: id, hint: ERRORS.Terminated.hint };
}

/** Temporal takes summaries of up to 400 bytes. */
export function summarize(text: string): string {
  const bytes = Buffer.from(text);
  return bytes.length <= 400
    ? text
    : `${bytes
        .subarray(0, 390)
        .toString('utf8')
        .replace(/\uFFFD+$/, '')}…`;
}
