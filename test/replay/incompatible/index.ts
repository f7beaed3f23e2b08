/** What nobody may release: a workflow of the same name that sends before it has looked at the source. */
import { proxyActivities } from '@temporalio/workflow';
import type { TransferActivities } from '../../../src/activities/uploads.js';

const { inspectSource, putObject } = proxyActivities<TransferActivities>({ startToCloseTimeout: '1 minute' });

export async function uploadObject(upload: Parameters<typeof inspectSource>[0]): Promise<unknown> {
  const token = { uploadId: upload.id, nonce: 'n' };
  const stored = await putObject({ upload, token, inspection: {} as never, again: false });
  await inspectSource(upload);
  return stored;
}
