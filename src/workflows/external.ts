/** Messages to uploads that run on their own. One that has ended already takes none, and that is as well. */
import { CancellationScope, getExternalWorkflowHandle, log } from '@temporalio/workflow';
import type { SignalDefinition } from '@temporalio/common';
import { uploadWorkflowId } from '../core/ids.js';

export function signalUpload(uploadId: string, signal: SignalDefinition): void {
  const handle = getExternalWorkflowHandle(uploadWorkflowId(uploadId));
  send(() => handle.signal(signal), uploadId);
}

export function cancelUpload(uploadId: string): void {
  const handle = getExternalWorkflowHandle(uploadWorkflowId(uploadId));
  send(() => handle.cancel(), uploadId);
}

/** Nobody waits for the answer: what the upload does with it shows in how it ends. */
function send(step: () => Promise<void>, uploadId: string): void {
  void CancellationScope.nonCancellable(step).catch((error: unknown) => {
    log.debug('an upload took no message', { uploadId, reason: String(error) });
  });
}
