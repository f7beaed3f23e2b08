/** Upload jobs: created, looked at, listed, deleted. */
import type { FastifyRequest } from 'fastify';
import { jobFingerprint } from '../../client/job-spec.js';
import { LongshoreError } from '../../core/errors.js';
import { isTerminal } from '../../core/states.js';
import { getJob, handOver, jobCounts, listJobs, type JobRow } from '../../infra/catalog/jobs.js';
import { definitionOf } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { maySee, mustGrant } from '../plugins/auth.js';
import { derivedId } from '../plugins/idempotency.js';
import { page, sensible } from '../refusals.js';
import { reads, writes } from '../schemas/problem.js';
import * as s from '../schemas/uploads.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { uploadView } from '../views.js';

const tags = ['uploads'];

export function uploadRoutes(app: Routes, deps: ApiDeps): void {
  createRoute(app, deps);
  listRoute(app, deps);
  app.get(
    '/uploads/:upload_id',
    {
      schema: {
        tags,
        operationId: 'getUpload',
        summary: 'Show one job',
        params: s.UploadParams,
        response: reads(s.UploadView, 'The job as it is now'),
      },
    },
    async (request) => await viewUpload(deps, request, request.params.upload_id),
  );
  deleteRoute(app, deps);
}

function createRoute(app: Routes, { config, db, temporal }: ApiDeps): void {
  app.post(
    '/uploads/',
    {
      schema: {
        tags,
        operationId: 'createUpload',
        summary: 'Create an upload job, and start it',
        description:
          'The same `upload_id` with the same body is the same job; with another body it is a conflict.',
        body: s.CreateUpload,
        headers: IdempotencyHeaders,
        response: writes(s.Created, 'The job is there, and runs or has run'),
      },
    },
    async (request, reply) => {
      const { body, apiKey } = request;
      const definition = await sensible(() => definitionOf(body, config, apiKey?.id));
      mustGrant(request, definition.destination);
      const id = body.upload_id ?? derivedId(request);
      const { bandwidth = null, concurrency = null } = body.limits ?? {};
      // First, for the run that this may start goes by what the row says.
      if (id !== undefined && apiKey !== null) {
        await handOver(db, { id, fingerprint: jobFingerprint(definition) }, apiKey.id);
      }
      const started = await sensible(() =>
        temporal.use((client) =>
          client.jobs.startJob({
            ...(id === undefined ? {} : { id }),
            definition,
            limits: { bandwidth, concurrency },
            db,
            installation: config.installation,
          }),
        ),
      );
      reply.header('location', `/api/v1/uploads/${started.id}`);
      return { upload_id: started.id, status: 'created' as const };
    },
  );
}

function deleteRoute(app: Routes, deps: ApiDeps): void {
  const { db, temporal } = deps;
  app.delete(
    '/uploads/:upload_id',
    {
      schema: {
        tags,
        operationId: 'deleteUpload',
        summary: 'Forget a job that has ended, its files’ rows and its monitor; objects stay in the bucket',
        params: s.UploadParams,
        response: writes(s.Accepted, 'It is forgotten'),
      },
    },
    async (request) => {
      const { id, state } = await findUpload(deps, request, request.params.upload_id);
      if (!isTerminal(state)) {
        const message = `the upload ${id} is ${state}`;
        const hint = 'Cancel it first, and delete it once it has ended.';
        throw new LongshoreError('Conflict', message, { op: 'delete', key: id, hint });
      }
      await temporal.use((client) => client.jobs.deleteJob(id, db), DELETE_MS);
      return { upload_id: id, status: 'deleted' as const };
    },
  );
}

/** A run that has just begun is stopped and waited for, up to half a minute. */
const DELETE_MS = 45_000;

/** Pages are read until one holds something that the caller may see. */
const MAX_PAGES = 20;

function listRoute(app: Routes, deps: ApiDeps): void {
  const { config, db } = deps;
  app.get(
    '/uploads/',
    {
      schema: {
        tags,
        operationId: 'listUploads',
        summary: 'List jobs, newest first',
        description: 'A page holds only what the API key may see, so it may be shorter than `limit`.',
        querystring: s.ListUploadsQuery,
        response: reads(s.UploadList, 'One page of jobs'),
      },
    },
    async (request) => {
      const { cursor, ...ask } = request.query;
      let next = cursor;
      let rows: JobRow[] = [];
      for (let read = 0; read < MAX_PAGES; read++) {
        const found = await page(next, () => listJobs(db, { ...ask, cursor: next }));
        rows = found.rows.filter((row) => isVisible(request, row));
        next = found.next;
        if (rows.length > 0 || next === undefined) break;
      }
      const counts = await jobCounts(
        db,
        rows.map(({ no }) => no),
      );
      return {
        uploads: rows.map((row) => uploadView(row, counts.get(row.no), config)),
        next_cursor: next ?? null,
      };
    },
  );
}

function isVisible(request: FastifyRequest, row: JobRow): boolean {
  return maySee(request, { bucket: row.destinationBucket, prefix: row.destinationPrefix }, row.apiKey);
}

/** Throws NotFound also for what the caller may not see: that it is there is nobody else's business. */
export async function findUpload({ db }: ApiDeps, request: FastifyRequest, id: string): Promise<JobRow> {
  const row = await getJob(db, id);
  if (row !== undefined && isVisible(request, row)) return row;
  throw new LongshoreError('NotFound', `there is no upload ${id}`, {
    op: 'request',
    key: id,
    hint: 'GET /api/v1/uploads/ lists those that there are.',
  });
}

export async function viewUpload(deps: ApiDeps, request: FastifyRequest, id: string) {
  const row = await findUpload(deps, request, id);
  const counts = await jobCounts(deps.db, [row.no]);
  return uploadView(row, counts.get(row.no), deps.config);
}
