/** Bytes on their way: chunks of a session, and objects that are small enough for one request. */
import * as z from 'zod';
import type { ApiDeps, Routes } from '../deps.js';
import { given } from '../definition.js';
import { lengthOf, whileConnected } from '../plugins/bodies.js';
import { derivedId } from '../plugins/idempotency.js';
import { writes } from '../schemas/problem.js';
import * as s from '../schemas/sessions.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { callerOf } from '../sessions/caller.js';
import { checksOf } from '../sessions/checks.js';
import { mustBeSmall, putAtOnce, viewSession } from './sessions.js';

const tags = ['sessions'];
const consumes = ['application/octet-stream'];

const Bytes = z.any().meta({ type: 'string', format: 'binary' });

/** To be set up in a scope of `passBodies`. */
export function chunkRoutes(app: Routes, deps: ApiDeps): void {
  const { sessions } = deps;
  app.put(
    '/sessions/:upload_id/chunks/:chunk',
    {
      schema: {
        tags,
        consumes,
        operationId: 'putChunk',
        summary: 'Send a chunk, in any order, several at once, again if need be',
        description:
          'The whole body is the chunk. Answered once it is in S3 and written down; the bytes that came last count. Each ' +
          'checksum that is given is compared with what came.',
        params: s.ChunkParams,
        headers: s.BodyHeaders,
        body: Bytes,
        response: writes(s.Chunk, 'The chunk is there'),
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { upload_id: id, chunk } = request.params;
      const checks = checksOf(request.raw.headers);
      const length = lengthOf(request);
      const row = await sessions.find(caller, id);
      const { etag, size, crc32 } = await whileConnected(request, (signal) =>
        sessions.receive(caller, row, { partNumber: chunk + 1, length, body: request.raw, checks }, signal),
      );
      reply.header('etag', etag);
      return { upload_id: id, chunk, size, etag, checksum: `crc32:${crc32}` };
    },
  );
  payloadRoute(app, deps);
}

function payloadRoute(app: Routes, deps: ApiDeps): void {
  const { config } = deps;
  app.post(
    '/sessions/payload',
    {
      schema: {
        tags,
        consumes,
        operationId: 'putPayload',
        summary: 'Send a whole object in one request',
        description: 'The body is the object, written by one PutObject. Larger ones are sent in chunks.',
        querystring: s.PayloadQuery,
        headers: s.BodyHeaders.extend(IdempotencyHeaders.shape),
        body: Bytes,
        response: writes(s.SessionView, 'The session, which is COMPLETED'),
      },
    },
    async (request, reply) => {
      const { query, headers } = request;
      const checks = checksOf(request.raw.headers);
      const length = lengthOf(request);
      mustBeSmall(length, config.sessions.payloadMax);
      const contentType = headers['content-type'];
      const ask = {
        name: query.name,
        ...given({
          id: query.upload_id ?? derivedId(request),
          connectorId: query.connector_id,
          nodeId: query.node_id,
          bucket: query.bucket,
          key: query.key,
          contentType,
        }),
      };
      const whole = { length, body: request.raw, checks };
      const row = await whileConnected(request, (signal) => putAtOnce(deps, request, ask, whole, signal));
      reply.header('location', `/api/v1/sessions/${row.id}`);
      return await viewSession(deps, row);
    },
  );
}
