/** How a run ends that was told to by a signal. */
import { proxyActivities, workflowInfo, type CancellationScope } from '@temporalio/workflow';
import type { OrchestrationActivities } from '../activities/catalog.js';
import { CATALOG } from './activity-options.js';

const { requestCancellation } = proxyActivities<OrchestrationActivities>(CATALOG);

/** Temporal closes a run as Cancelled only when it was told to by its server, so a signal asks for that. */
export async function closeAsCancelled(root: CancellationScope): Promise<never> {
  const { workflowId, runId } = workflowInfo();
  if (!root.consideredCancelled) {
    await requestCancellation.executeWithOptions({ summary: 'close as cancelled' }, [{ workflowId, runId }]);
  }
  return await root.cancelRequested;
}
