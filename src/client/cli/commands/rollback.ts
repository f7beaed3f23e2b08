/** `longshore rollback`: a node back at an earlier version; the server copies it, and no byte leaves it. */
import type { NodeRow } from '../../../infra/catalog/nodes.js';
import type { StartedUpload } from '../../longshore-client.js';
import { checkRollback, rollbackUpload } from '../../rollback.js';
import type { Io } from '../io.js';
import { idleNode, watchCopy } from '../node-copy.js';
import type { Connections } from '../options.js';
import { configure } from '../session.js';

/** Exit codes as `put` has them. */
export async function run(io: Io, options: Connections, nodeId: string, versionId: string): Promise<number> {
  const began = performance.now();
  const config = configure(io, options);
  const node = await idleNode(config, nodeId, 'rollback');
  checkRollback(node, versionId);
  const seconds = (): number => (performance.now() - began) / 1000;
  return await watchCopy({ io, config, node, seconds }, async (client) => {
    const started = await client.startUpload(rollbackUpload({ node, versionId }));
    announce(io, node, versionId, started);
    return started;
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
