/** Whether nobody is about to write another object at a node's key. */
import { LongshoreError } from '../core/errors.js';
import { openSessionOf, type NodeRow } from '../infra/catalog/nodes.js';
import type { Queryable } from '../infra/catalog/pool.js';

/** Throws Conflict while a session that has not ended makes the node's next version. */
export async function mustBeIdle(
  db: Queryable,
  { nodeId }: Pick<NodeRow, 'nodeId'>,
  op: 'rotate' | 'rollback',
): Promise<void> {
  const session = await openSessionOf(db, nodeId);
  if (session === undefined) return;
  throw new LongshoreError('Conflict', `the session ${session} makes another version of the node ${nodeId}`, {
    op,
    key: nodeId,
    hint: 'Complete the session or cancel it, then ask again.',
  });
}
