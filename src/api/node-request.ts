/** What requests to copy a node's object, and to read it, have in common. */
import type { FastifyRequest } from 'fastify';
import type { LongshoreClient } from '../client/longshore-client.js';
import { LongshoreError } from '../core/errors.js';
import { getNode, type NodeRow } from '../infra/catalog/nodes.js';
import type { ApiDeps } from './deps.js';
import { maySee } from './plugins/auth.js';

/** Throws NotFound also for what the caller may not see. */
export async function findNode({ db }: ApiDeps, request: FastifyRequest, nodeId: string): Promise<NodeRow> {
  const node = await getNode(db, nodeId);
  if (node !== undefined && maySee(request, node)) return node;
  throw new LongshoreError('NotFound', `there is no node ${nodeId}`, {
    op: 'request',
    key: nodeId,
    hint: 'GET /api/v1/nodes/ lists those that there are.',
  });
}

export function lastRunBy({ temporal }: ApiDeps): LongshoreClient['lastRun'] {
  return (id) => temporal.use((client) => client.lastRun(id));
}
