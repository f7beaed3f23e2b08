/** `monitorJob`: one look at a monitored folder. A Temporal Schedule starts it, so that nothing runs between two looks. */
import { isCancellation, proxyActivities } from '@temporalio/workflow';
import type { JobOrchestrationActivities, JobTransferActivities } from '../activities/jobs.js';
import { rootQueue } from '../core/ids.js';
import type { MonitorInput, MonitorResult } from '../core/job-steps.js';
import { CATALOG, CHECK } from './activity-options.js';
import { failureOf, toApplicationFailure } from './failures.js';

const { checkFolder } = proxyActivities<JobTransferActivities>(CHECK);
const { startSync, removeMonitor } = proxyActivities<JobOrchestrationActivities>(CATALOG);

export async function monitorJob({ id, job, root }: MonitorInput): Promise<MonitorResult> {
  try {
    const taskQueue = rootQueue(root);
    const priority = { fairnessKey: `job-${job}` };
    const summary = 'has anything changed?';
    const { changed, over } = await checkFolder.executeWithOptions(
      { ...CHECK, taskQueue, priority, summary },
      [{ id, job }],
    );
    if (over) {
      await removeMonitor.executeWithOptions({ ...CATALOG, summary: 'nobody asks any more' }, [{ id, job }]);
    } else if (changed) {
      await startSync.executeWithOptions({ ...CATALOG, summary: 'send what changed' }, [{ id, job }]);
    }
    return { changed, over };
  } catch (error) {
    throw isCancellation(error) ? error : toApplicationFailure(failureOf(error));
  }
}
