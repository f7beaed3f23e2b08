/** What workflows ask of the catalog and of Temporal itself: the activities of the `orchestration` queue. */
import type { UploadReport } from '../core/uploads.js';
import { reportUpload } from '../infra/catalog/uploads.js';
import type { Pool } from '../infra/catalog/pool.js';
import { mapFailures } from './failures.js';

export interface OrchestrationDeps {
  db: Pool;
  installation: string;
  /** Asks Temporal to cancel a run. */
  cancelRun(workflowId: string, runId: string): Promise<void>;
}

export interface OrchestrationActivities {
  /** Idempotent: a late or repeated report changes nothing. */
  reportUpload(report: UploadReport): Promise<void>;
  /** Idempotent. */
  requestCancellation(run: { workflowId: string; runId: string }): Promise<void>;
}

export function createOrchestrationActivities(deps: OrchestrationDeps): OrchestrationActivities {
  return mapFailures<OrchestrationActivities>({
    reportUpload: (report) => reportUpload(deps.db, deps.installation, report),
    requestCancellation: ({ workflowId, runId }) => deps.cancelRun(workflowId, runId),
  });
}
