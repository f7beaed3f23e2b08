/** Nodes: looked at, listed, with their versions, and back to one of them. */
import type * as z from 'zod';
import { mustBeIdle } from '../../client/idle-node.js';
import { AlreadyCompleted } from '../../client/longshore-client.js';
import { checkRollback, rollbackUpload, type Rollback } from '../../client/rollback.js';
import { LongshoreError } from '../../core/errors.js';
import { listNodes, type NodeRow } from '../../infra/catalog/nodes.js';
import type { ApiDeps, Routes } from '../deps.js';
import { findNode, lastRunBy } from '../node-request.js';
import { maySee, mustGrant } from '../plugins/auth.js';
import { derivedId } from '../plugins/idempotency.js';
import { page } from '../refusals.js';
import * as s from '../schemas/nodes.js';
import { reads, writes } from '../schemas/problem.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { broughtBefore } from '../sessions/reuse.js';

const tags = ['nodes'];

/** As long as S3 may take to answer a request that somebody waits for. */
const S3_MS = 20_000;

export function nodeRoutes(app: Routes, deps: ApiDeps): void {
  listRoute(app, deps);
  app.get(
    '/nodes/:node_id',
    {
      schema: {
        tags,
        operationId: 'getNode',
        summary: 'Show one node',
        params: s.NodeParams,
        response: reads(s.NodeView, 'The node as it is now'),
      },
    },
    async (request) => nodeView(await findNode(deps, request, request.params.node_id)),
  );
  versionsRoute(app, deps);
  rollbackRoute(app, deps);
}

function listRoute(app: Routes, { db }: ApiDeps): void {
  app.get(
    '/nodes/',
    {
      schema: {
        tags,
        operationId: 'listNodes',
        summary: 'List nodes, newest first',
        description:
          'A page holds only what the API key may see, so it may be shorter than `limit`, or empty.',
        querystring: s.ListNodesQuery,
        response: reads(s.NodeList, 'One page of nodes'),
      },
    },
    async (request) => {
      const { connector_id: connectorId, ...ask } = request.query;
      const { rows, nextCursor } = await page(ask.cursor, () => listNodes(db, { ...ask, connectorId }));
      const seen = rows.filter((row) => maySee(request, row));
      return { nodes: seen.map(nodeView), next_cursor: nextCursor };
    },
  );
}

function versionsRoute(app: Routes, deps: ApiDeps): void {
  app.get(
    '/nodes/:node_id/versions',
    {
      schema: {
        tags,
        operationId: 'listNodeVersions',
        summary: 'List the versions that S3 keeps of a node’s object, newest first',
        params: s.NodeParams,
        querystring: s.ListVersionsQuery,
        response: reads(s.VersionList, 'One page of versions'),
      },
    },
    async (request) => {
      const { bucket, key, versionId } = await findNode(deps, request, request.params.node_id);
      const { cursor, limit: max } = request.query;
      const after = cursor === undefined ? {} : { after: Buffer.from(cursor, 'base64url').toString('utf8') };
      const signal = AbortSignal.timeout(S3_MS);
      const { versions, next } = await deps.store.listVersions({ bucket, key, max, ...after }, signal);
      return {
        versions: versions.map((version) => ({
          version_id: version.versionId,
          etag: version.deleted ? null : version.etag,
          size: version.size,
          last_modified: version.lastModified,
          latest: version.latest,
          deleted: version.deleted,
          current: versionId === null ? version.latest : version.versionId === versionId,
        })),
        next_cursor: next === undefined ? null : Buffer.from(next, 'utf8').toString('base64url'),
      };
    },
  );
}

function rollbackRoute(app: Routes, deps: ApiDeps): void {
  app.post(
    '/nodes/:node_id/rollback',
    {
      schema: {
        tags,
        operationId: 'rollBackNode',
        summary: 'Make an earlier version of a node its newest; the server copies it',
        params: s.NodeParams,
        body: s.RollbackNode,
        headers: IdempotencyHeaders,
        response: writes(s.RollbackStarted, 'The upload that does it is there, and runs or has run'),
      },
    },
    async (request, reply) => {
      const { body, params } = request;
      const node = await findNode(deps, request, params.node_id);
      const { bucket, key, nodeId } = node;
      mustGrant(request, { bucket, key });
      const versionId = body.version_id;
      const id = body.upload_id ?? derivedId(request);
      const rollback: Rollback = { id, node, versionId, apiKey: request.apiKey?.id };
      const brought = id !== undefined && (await broughtBefore(deps, request, id, rollbackUpload(rollback)));
      // The same request again finds the node where it brought it, or where others have brought it since.
      if (!brought && (id === undefined || node.uploadId !== id)) {
        checkRollback(node, versionId);
        await mustBeIdle(deps.db, lastRunBy(deps), node, 'rollback');
      }
      if (!brought) await mustExist(deps, node, versionId);
      const upload = brought ? id : await start(deps, rollback);
      reply.header('location', `/api/v1/objects/${upload}`);
      return { upload_id: upload, node_id: nodeId, version_id: versionId, status: 'started' as const };
    },
  );
}

async function start({ temporal }: ApiDeps, rollback: Rollback): Promise<string> {
  try {
    return (await temporal.use((client) => client.startUpload(rollbackUpload(rollback)))).id;
  } catch (error) {
    if (error instanceof AlreadyCompleted) return error.upload.id;
    throw error;
  }
}

/** Said at once, for the upload would only fail of it later. */
async function mustExist({ store }: ApiDeps, node: NodeRow, versionId: string): Promise<void> {
  const { bucket, key, nodeId } = node;
  const signal = AbortSignal.timeout(S3_MS);
  for (let after: string | undefined, more = true; more;) {
    const page = await store.listVersions({ bucket, key, ...(after === undefined ? {} : { after }) }, signal);
    if (page.versions.some((version) => version.versionId === versionId && !version.deleted)) return;
    after = page.next;
    more = after !== undefined;
  }
  throw new LongshoreError('NotFound', `the node ${nodeId} has no version ${versionId}`, {
    op: 'rollback',
    key: nodeId,
    hint: 'GET /api/v1/nodes/{node_id}/versions lists those that there are.',
  });
}

function nodeView(node: NodeRow): z.infer<typeof s.NodeView> {
  const { nodeId, connectorId, contentType, uploadId, versionId, encryptionType: type } = node;
  const { bucket, key, status } = node;
  return {
    ...{ node_id: nodeId, connector_id: connectorId, name: node.name, content_type: contentType },
    ...{ bucket, key, status, upload_id: uploadId },
    location: status === 'ACTIVE' ? `s3://${bucket}/${key}` : null,
    ...{ etag: node.etag, size: node.size, version_id: versionId, checksum: node.checksum },
    encryption:
      type === null ? null : { type, kms_key_id: node.kmsKeyId, customer_key_md5: node.customerKeyMd5 },
    ...{ created_at: node.createdAt, updated_at: node.updatedAt },
  };
}
