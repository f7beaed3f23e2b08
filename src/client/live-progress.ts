/** Live progress: what finished windows left in the memo, and what running ones say in their heartbeats. */
import { defaultPayloadConverter } from '@temporalio/common';
import type { WorkflowExecutionDescription } from '@temporalio/client';
import type { UploadProgress, WindowProgress } from '../core/uploads.js';
import type { TransferHeartbeat } from '../core/upload-steps.js';

export type Raw = WorkflowExecutionDescription['raw'];
type Pending = NonNullable<Raw['pendingActivities']>[number];

/** `description.raw` leaves the details of heartbeats undecoded. */
export function heartbeatsOf(raw: Raw): TransferHeartbeat[] {
  return (raw.pendingActivities ?? []).filter(isUploadParts).flatMap((activity) => {
    const payload = activity.heartbeatDetails?.payloads?.[0];
    const details = payload && defaultPayloadConverter.fromPayload<TransferHeartbeat | null>(payload);
    return details ? [details] : [];
  });
}

function isUploadParts(activity: Pending): boolean {
  return activity.activityType?.name === 'uploadParts';
}

export function liveProgress(
  memo: UploadProgress | undefined,
  heartbeats: TransferHeartbeat[],
): UploadProgress {
  const base = memo ?? { partsDone: 0, bytesDone: 0, bytesSent: 0, bytesTotal: null, partsTotal: null };
  const open = new Map<string, WindowProgress>(Object.entries(base.open ?? {}));
  for (const { first, partsDone, bytesDone, bytesSent } of heartbeats) {
    open.set(String(first), { partsDone, bytesDone, bytesSent });
  }
  const sum = { partsDone: base.partsDone, bytesDone: base.bytesDone, bytesSent: base.bytesSent };
  for (const window of open.values()) {
    sum.partsDone += window.partsDone;
    sum.bytesDone += window.bytesDone;
    sum.bytesSent += window.bytesSent;
  }
  const [live] = heartbeats;
  return {
    ...sum,
    bytesTotal: base.bytesTotal ?? live?.bytesTotal ?? null,
    partsTotal: base.partsTotal ?? live?.partsTotal ?? null,
  };
}

/** Keeps what a person watches from going back when an attempt is lost. */
export class Monotonic {
  private last: UploadProgress | undefined;

  next(progress: UploadProgress): UploadProgress {
    const last = this.last ?? progress;
    this.last = {
      bytesTotal: progress.bytesTotal ?? last.bytesTotal,
      partsTotal: progress.partsTotal ?? last.partsTotal,
      partsDone: Math.max(progress.partsDone, last.partsDone),
      bytesDone: Math.max(progress.bytesDone, last.bytesDone),
      bytesSent: Math.max(progress.bytesSent, last.bytesSent),
    };
    return this.last;
  }
}

const UNCLAIMED_MS = 5_000;
/** PendingWorkflowTaskState and PendingActivityState: scheduled, and not begun. Both enums spell it 1. */
const SCHEDULED: number = 1;

/** A task that lies on its queue: no worker lives, or all are busy. The name of the queue, or undefined. */
export function unclaimedQueue(raw: Raw, now = Date.now()): string | undefined {
  const workflowTask = raw.pendingWorkflowTask;
  if (Number(workflowTask?.state) === SCHEDULED && isOld(workflowTask?.scheduledTime, now)) {
    return raw.executionConfig?.taskQueue?.name ?? 'orchestration';
  }
  const waiting = (raw.pendingActivities ?? []).find(
    ({ state, scheduledTime, attempt }) =>
      Number(state) === SCHEDULED && (attempt ?? 1) <= 1 && isOld(scheduledTime, now),
  );
  return waiting?.activityOptions?.taskQueue?.name ?? (waiting === undefined ? undefined : 'transfer');
}

function isOld(time: { seconds?: unknown } | null | undefined, now: number): boolean {
  return time?.seconds !== undefined && now - Number(time.seconds) * 1000 > UNCLAIMED_MS;
}
