/** What commands have in common that let the server copy a node's object onto itself. */
import { LongshoreError } from '../../core/errors.js';
import { getNode, type NodeRow } from '../../infra/catalog/nodes.js';
import type { Config } from '../../infra/config.js';
import { mustBeIdle } from '../idle-node.js';
import type { LongshoreClient, StartedUpload } from '../longshore-client.js';
import { Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import { createScreen } from './screen.js';
import { withCatalog, withClient } from './session.js';
import { watchToEnd } from './watching.js';

/** Throws NotFound, and Conflict while somebody sends the node's next version. */
export async function idleNode(config: Config, nodeId: string, op: 'rollback' | 'rotate'): Promise<NodeRow> {
  const node = await withCatalog(config, async (pool) => {
    const lastRun: LongshoreClient['lastRun'] = (id) => withClient(config, (client) => client.lastRun(id));
    await mustBeIdle(pool, lastRun, { nodeId }, op);
    return await getNode(pool, nodeId);
  });
  if (node !== undefined) return node;
  throw new LongshoreError('NotFound', `there is no node ${nodeId}`, {
    op,
    key: nodeId,
    hint: 'GET /api/v1/nodes/ lists those that there are.',
  });
}

/** Follows what `start` starts to its end; `seconds` since the command began. Answers the exit code. */
export async function watchCopy(
  { io, config, node, seconds }: { io: Io; config: Config; node: NodeRow; seconds: () => number },
  start: (client: LongshoreClient) => Promise<StartedUpload>,
): Promise<number> {
  const interrupts = new Interrupts();
  try {
    return await withClient(config, async (client) => {
      const upload = { ...(await start(client)), bucket: node.bucket, key: node.key };
      const screen = createScreen(io, {});
      return await watchToEnd({ io, client, upload, screen, interrupts, seconds, mayCancel: true });
    });
  } finally {
    interrupts.release();
  }
}
