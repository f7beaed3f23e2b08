/** `longshore rollback`: a node back at an earlier version; the server copies it, and no byte leaves it. */
import { LongshoreError } from '../../../core/errors.js';
import { getNode, type NodeRow } from '../../../infra/catalog/nodes.js';
import type { Config } from '../../../infra/config.js';
import type { LongshoreClient, StartedUpload } from '../../longshore-client.js';
import { mustBeIdle } from '../../idle-node.js';
import { checkRollback, rollbackUpload } from '../../rollback.js';
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { createScreen } from '../screen.js';
import { configure, withCatalog, withClient } from '../session.js';
import { watchToEnd } from '../watching.js';

/** Exit codes as `put` has them. */
export async function run(io: Io, options: Connections, nodeId: string, versionId: string): Promise<number> {
  const began = performance.now();
  const config = configure(io, options);
  const node = await nodeOf(config, nodeId);
  checkRollback(node, versionId);
  const interrupts = new Interrupts();
  try {
    return await withClient(config, async (client: LongshoreClient) => {
      const started = await client.startUpload(rollbackUpload({ node, versionId }));
      announce(io, node, versionId, started);
      const upload = { ...started, bucket: node.bucket, key: node.key };
      const seconds = (): number => (performance.now() - began) / 1000;
      const screen = createScreen(io, {});
      return await watchToEnd({ io, client, upload, screen, interrupts, seconds, mayCancel: true });
    });
  } finally {
    interrupts.release();
  }
}

async function nodeOf(config: Config, nodeId: string): Promise<NodeRow> {
  const node = await withCatalog(config, async (pool) => {
    await mustBeIdle(pool, { nodeId }, 'rollback');
    return await getNode(pool, nodeId);
  });
  if (node !== undefined) return node;
  throw new LongshoreError('NotFound', `there is no node ${nodeId}`, {
    op: 'rollback',
    key: nodeId,
    hint: 'GET /api/v1/nodes/ lists those that there are.',
  });
}

function announce(io: Io, { bucket, key }: NodeRow, versionId: string, { id, webUi }: StartedUpload): void {
  if (io.json) {
    io.outJson({ type: 'started', id, bucket, key, versionId, webUi: webUi ?? null });
    return;
  }
  io.err(`Copying version ${versionId} onto s3://${bucket}/${key}`);
  io.err(`Upload ${id}`);
  if (webUi !== undefined) io.err(`Web UI ${webUi}`);
}
