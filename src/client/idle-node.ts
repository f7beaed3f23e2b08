/** Whether nobody is about to write another object at a node's key. */
import { LongshoreError } from '../core/errors.js';
import { openSessionsOf, type NodeRow } from '../infra/catalog/nodes.js';
import type { Queryable } from '../infra/catalog/pool.js';
import type { LongshoreClient } from './longshore-client.js';

/** Throws Conflict while a session that has not ended makes the node's next version. */
export async function mustBeIdle(
  db: Queryable,
  lastRun: LongshoreClient['lastRun'],
  { nodeId }: Pick<NodeRow, 'nodeId'>,
  op: 'rotate' | 'rollback',
): Promise<void> {
  for (const session of await openSessionsOf(db, nodeId)) {
    // One that was terminated could not close its row: the sweep does, in days.
    if ((await lastRun(session)) !== 'open') continue;
    throw new LongshoreError(
      'Conflict',
      `the session ${session} makes another version of the node ${nodeId}`,
      {
        op,
        key: nodeId,
        hint: 'Complete the session or cancel it, then ask again.',
      },
    );
  }
}
