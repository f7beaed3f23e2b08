/** Single objects: created, looked at, listed, steered. */
import type { FastifyRequest } from 'fastify';
import type * as z from 'zod';
import type { LongshoreClient, UploadView } from '../../client/longshore-client.js';
import { LongshoreError } from '../../core/errors.js';
import { isTerminal } from '../../core/states.js';
import { getUpload, listUploads, type UploadRow } from '../../infra/catalog/uploads.js';
import type { ApiDeps, Routes } from '../deps.js';
import { startObject } from '../object-request.js';
import { maySee } from '../plugins/auth.js';
import { derivedId } from '../plugins/idempotency.js';
import { page } from '../refusals.js';
import * as s from '../schemas/objects.js';
import { reads, writes } from '../schemas/problem.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { failureView, webUi } from '../views.js';

const tags = ['objects'];

const ACTIONS = [
  { name: 'cancel', summary: 'Stop, and leave nothing in the bucket', status: 'cancelling' },
  { name: 'pause', summary: 'Stop sending; nothing is lost', status: 'pausing' },
  { name: 'resume', summary: 'Go on after a pause, or after a repair', status: 'resuming' },
] as const;

export function objectRoutes(app: Routes, deps: ApiDeps): void {
  app.post(
    '/objects/',
    {
      schema: {
        tags,
        operationId: 'createObject',
        summary: 'Upload a file, an address or an object',
        description:
          'The same `object_id` with the same body is the same upload; with another body it is a conflict.',
        body: s.CreateObject,
        headers: IdempotencyHeaders,
        response: writes(s.ObjectCreated, 'The upload is there, and runs or has run'),
      },
    },
    async (request, reply) => {
      const { body } = request;
      const id = await startObject(deps, request, body, body.object_id ?? derivedId(request));
      reply.header('location', `/api/v1/objects/${id}`);
      return { object_id: id, status: 'created' as const };
    },
  );
  listRoute(app, deps);
  app.get(
    '/objects/:object_id',
    {
      schema: {
        tags,
        operationId: 'getObject',
        summary: 'Show one upload of an object',
        params: s.ObjectParams,
        response: reads(s.ObjectView, 'The upload as it is now'),
      },
    },
    async (request) => objectView(deps, await findObject(deps, request, request.params.object_id)),
  );
  for (const { name, summary, status } of ACTIONS) {
    app.post(
      `/objects/:object_id/${name}`,
      {
        schema: {
          tags,
          operationId: `${name}Object`,
          summary,
          params: s.ObjectParams,
          headers: IdempotencyHeaders,
          response: writes(s.ObjectAccepted, 'It is asked for'),
        },
      },
      async (request) => {
        const { object_id: id } = request.params;
        await findObject(deps, request, id);
        await deps.temporal.use((client: LongshoreClient) => client[name](id));
        return { object_id: id, status };
      },
    );
  }
}

function listRoute(app: Routes, deps: ApiDeps): void {
  app.get(
    '/objects/',
    {
      schema: {
        tags,
        operationId: 'listObjects',
        summary: 'List uploads of objects, newest first',
        description:
          'A page holds only what the API key may see, so it may be shorter than `limit`, or empty.',
        querystring: s.ListObjectsQuery,
        response: reads(s.ObjectList, 'One page of uploads'),
      },
    },
    async (request) => {
      const { query } = request;
      const { rows, nextCursor } = await page(query.cursor, () => listUploads(deps.db, query));
      const seen = rows.filter((row) => maySee(request, row));
      return {
        objects: seen.map((row) => objectView(deps, { row, view: undefined })),
        next_cursor: nextCursor,
      };
    },
  );
}

type Found = { row: UploadRow; view: UploadView | undefined } | { row: undefined; view: UploadView };

/**
 * Temporal knows how far it is, the catalog what it is; one that has ended is the catalog's alone, and one that no worker
 * has taken yet Temporal's.
 */
async function findObject({ db, temporal }: ApiDeps, request: FastifyRequest, id: string): Promise<Found> {
  const row = await getUpload(db, id);
  const view =
    row !== undefined && isTerminal(row.state)
      ? undefined
      : await temporal.use((client) => client.view(id)).catch(ignoreNotFound);
  const at = row ?? view?.destination;
  if (at !== undefined && maySee(request, at)) {
    if (row !== undefined) return { row, view };
    if (view !== undefined) return { row, view };
  }
  throw new LongshoreError('NotFound', `there is no upload ${id} of an object`, {
    op: 'request',
    key: id,
    hint: 'GET /api/v1/objects/ lists those that there are.',
  });
}

function ignoreNotFound(error: unknown): undefined {
  if (error instanceof LongshoreError && error.code === 'NotFound') return undefined;
  throw error;
}

function objectView({ config }: ApiDeps, { row, view }: Found): z.infer<typeof s.ObjectView> {
  const state = view?.state ?? row?.state ?? 'PENDING';
  const total = view?.progress.bytesTotal ?? row?.size ?? null;
  const done = state === 'COMPLETED' ? total : (view?.progress.bytesDone ?? null);
  const result = view?.result;
  return {
    object_id: row?.id ?? view?.id ?? '',
    state,
    progress: state === 'COMPLETED' ? 1 : total === null || done === null ? null : share(done, total),
    bytes_done: done,
    bytes_total: total,
    bucket: row?.bucket ?? view?.destination?.bucket ?? '',
    key: row?.key ?? view?.destination?.key ?? '',
    source: row?.sourceLabel ?? view?.source ?? '',
    etag: result?.etag ?? row?.etag ?? null,
    version_id: result?.versionId ?? row?.versionId ?? null,
    checksum: result?.checksum ?? row?.checksum ?? null,
    verification: result?.verification ?? row?.verification ?? null,
    failure: failureView(view?.failure ?? row?.failure),
    ...timesOf({ row, view } as Found),
    web_ui: webUi(config, row?.workflowId ?? view?.workflowId ?? ''),
  };
}

function timesOf({ row, view }: Found) {
  const { startedAt = '', closedAt = null } = view ?? {};
  return {
    created_at: row?.createdAt ?? startedAt,
    updated_at: row?.updatedAt ?? startedAt,
    finished_at: row?.finishedAt ?? closedAt,
  };
}

function share(done: number, total: number): number {
  return total === 0 ? 0 : Math.min(1, done / total);
}
