/** Sends the windows of one multipart upload, a few at once, and stops and goes on with them. */
import { proxyActivities } from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import type { UploadObjectInput } from '../core/uploads.js';
import type { CreatedUpload, Inspection, PartsPlan, Window, WindowResult } from '../core/upload-steps.js';
import { CONTROL, moving } from './activity-options.js';
import { onceMore, type Control } from './control.js';
import type { Placement } from './placement.js';
import { failTogether } from './together.js';

const { uploadParts } = proxyActivities<TransferActivities>(CONTROL);

export interface PartsJob {
  upload: UploadObjectInput;
  inspection: Inspection;
  plan: PartsPlan;
  created: CreatedUpload;
  control: Control;
  placement: Placement;
  onResult(window: Window, result: WindowResult): void;
}

/** The results in the order of their windows. The first failure stops the other windows, and is thrown after them. */
export async function sendParts(job: PartsJob): Promise<WindowResult[]> {
  const results: WindowResult[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (;;) {
      const index = next++;
      const window = job.plan.windows[index];
      if (window === undefined) return;
      results[index] = await sendWindow(job, window);
    }
  };
  const lanes = Math.min(job.plan.windowsAtOnce, job.plan.windows.length);
  await failTogether(Array.from({ length: lanes }, () => lane));
  return results;
}

async function sendWindow(job: PartsJob, window: Window): Promise<WindowResult> {
  let known: WindowResult | undefined;
  const begun = { again: false };
  for (;;) {
    await job.control.ready();
    const result = await runWindow(job, window, begun, known);
    if (result === undefined) continue;
    job.onResult(window, result);
    if (result.finished) return result;
    known = result;
  }
}

function runWindow(
  job: PartsJob,
  window: Window,
  begun: { again: boolean },
  known?: WindowResult,
): Promise<WindowResult | undefined> {
  const { upload, inspection, created, plan } = job;
  const input = { upload, inspection, created, window, ...(known === undefined ? {} : { known }) };
  const bytes = plan.parts.count === null ? null : (window.last - window.first + 1) * plan.parts.partSize;
  const options = { ...moving(bytes), summary: windowSummary(window, plan) };
  return job.placement.run((place) =>
    job.control.untilPaused(() =>
      uploadParts.executeWithOptions({ ...options, ...place }, [{ ...input, ...onceMore(begun) }]),
    ),
  );
}

function windowSummary({ first, last }: Window, { parts }: PartsPlan): string {
  return parts.count === null ? 'parts until the source ends' : `parts ${first}–${last} of ${parts.count}`;
}
