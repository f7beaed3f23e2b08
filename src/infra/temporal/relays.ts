/** Starts the relays of the sinks that a worker knows. */
import type { Client } from '@temporalio/client';
import { RELAY_WORKFLOW, type RelayInput, type SinkName } from '../../core/events.js';
import { QUEUES, relayWorkflowId } from '../../core/ids.js';
import { JOB_KEYS } from './job-runs.js';

/** One that runs already goes on. Repeating it is harmless. */
export async function ensureRelay(client: Client, sink: SinkName): Promise<void> {
  const input: RelayInput = { sink };
  await client.workflow.start(RELAY_WORKFLOW, {
    args: [input],
    workflowId: relayWorkflowId(sink),
    taskQueue: QUEUES.orchestration,
    workflowIdConflictPolicy: 'USE_EXISTING',
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    typedSearchAttributes: [{ key: JOB_KEYS.kind, value: 'relay' }],
    staticSummary: `events to ${sink}`,
  });
}
