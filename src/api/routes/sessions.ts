/** Sessions: begun, sent chunk by chunk, completed, cancelled. */
import type { FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import { KiB, MiB } from '../../core/limits.js';
import { listSessions, type SessionRow } from '../../infra/catalog/sessions.js';
import { customerKeyFromBase64 } from '../../infra/keys/index.js';
import { given } from '../definition.js';
import type { ApiDeps, Routes } from '../deps.js';
import { derivedId } from '../plugins/idempotency.js';
import { page } from '../refusals.js';
import { reads, writes } from '../schemas/problem.js';
import * as s from '../schemas/sessions.js';
import { IdempotencyHeaders } from '../schemas/values.js';
import { callerOf } from '../sessions/caller.js';
import { maySee } from '../sessions/rules.js';
import type { SessionAsk, WholeRequest } from '../sessions/service.js';
import { countsOf, progressOf, sessionView } from '../sessions/view.js';

const tags = ['sessions'];

/** Bytes of a payload within JSON: larger ones are a body of their own. */
const JSON_PAYLOAD = 16 * MiB;
const JSON_LIMIT = Math.ceil((JSON_PAYLOAD * 4) / 3) + 64 * KiB;

export function sessionRoutes(app: Routes, deps: ApiDeps): void {
  createRoute(app, deps);
  readRoutes(app, deps);
  endRoutes(app, deps);
}

/** As it is now. */
export async function viewSession({ db, config }: Pick<ApiDeps, 'db' | 'config'>, row: SessionRow) {
  return sessionView(row, await progressOf(db, row), config);
}

function createRoute(app: Routes, deps: ApiDeps): void {
  const { config, sessions } = deps;
  app.post(
    '/sessions/',
    {
      bodyLimit: Math.max(config.api.bodyLimit, JSON_LIMIT),
      schema: {
        tags,
        operationId: 'createSession',
        summary: 'Begin an upload whose bytes the client sends',
        description:
          'Answers once chunks are taken. The same `upload_id` with the same body is the same session; with another body it ' +
          'is a conflict. With a `payload` the object is complete at once.',
        body: s.CreateSession,
        headers: IdempotencyHeaders,
        response: writes(s.SessionView, 'The session, which takes chunks'),
      },
    },
    async (request, reply) => {
      const { payload, ...body } = request.body;
      const ask = askOf(request, body);
      reply.header('location', `/api/v1/sessions/${ask.id ?? ''}`);
      const row =
        payload === undefined
          ? (await sessions.begin(callerOf(request), ask)).row
          : await putPayload(deps, request, ask, Buffer.from(payload, 'base64'));
      reply.header('location', `/api/v1/sessions/${row.id}`);
      return await viewSession(deps, row);
    },
  );
}

async function putPayload(
  deps: ApiDeps,
  request: FastifyRequest,
  ask: SessionAsk,
  payload: Buffer,
): Promise<SessionRow> {
  mustBeSmall(payload.length, Math.min(JSON_PAYLOAD, deps.config.sessions.payloadMax));
  if (ask.size !== undefined && ask.size !== payload.length) {
    const message = `the payload has ${payload.length} bytes, not ${ask.size}`;
    throw new LongshoreError('Contradictory', message, { op: 'request' });
  }
  const { tags: objectTags, ifNoneMatch } = ask;
  const whole = { body: payload, length: payload.length, tags: objectTags, ifNoneMatch };
  return await putAtOnce(deps, request, ask, whole, AbortSignal.timeout(PUT_MS));
}

/** A session that is complete with the request that begins it. One that fails under an id of ours is nobody's to go on with. */
export async function putAtOnce(
  { sessions, log }: ApiDeps,
  request: FastifyRequest,
  ask: SessionAsk,
  whole: WholeRequest,
  signal: AbortSignal,
): Promise<SessionRow> {
  const caller = callerOf(request);
  const { row } = await sessions.begin(caller, { ...ask, mode: 'whole', size: whole.length });
  try {
    await sessions.put(caller, row, whole, signal);
  } catch (error) {
    if (ask.id === undefined) {
      await sessions.cancel(caller, row.id).catch((left: unknown) => {
        log.warn({ err: left, session: row.id }, 'a session whose payload failed is left to expire');
      });
    }
    throw error;
  }
  return await sessions.find(caller, row.id);
}

/** What is in memory is soon in S3. */
const PUT_MS = 60_000;

/** Throws RequestTooLarge. */
export function mustBeSmall(length: number, most: number): void {
  if (length <= most) return;
  throw new LongshoreError('RequestTooLarge', `a payload has at most ${most} bytes, not ${length}`, {
    op: 'request',
    hint: 'Begin a session, and send it in chunks.',
  });
}

function askOf(request: FastifyRequest, body: Omit<s.CreateSessionBody, 'payload'>): SessionAsk {
  return {
    name: body.name,
    ...given({
      id: body.upload_id ?? derivedId(request),
      connectorId: body.connector_id,
      nodeId: body.node_id,
      bucket: body.bucket,
      key: body.key,
      contentType: body.content_type,
      size: body.expected_size ?? undefined,
      chunkSize: body.chunk_size,
      checksum: body.checksum,
      metadata: body.metadata,
      tags: body.tags,
      ifNoneMatch: body.if_none_match,
      ttlMs: body.ttl === undefined ? undefined : body.ttl * 1000,
      encryption: encryptionOf(body.encryption),
    }),
  };
}

function encryptionOf(encryption: s.CreateSessionBody['encryption']): SessionAsk['encryption'] {
  if (encryption === undefined || encryption.type === 'SSE_S3') return encryption;
  if (encryption.type === 'SSE_KMS') return { type: 'SSE_KMS', kmsKeyId: encryption.kms_key_id };
  const { key, md5 } = customerKeyFromBase64(encryption.customer_key_b64, encryption.customer_key_md5);
  return { type: 'SSE_C', key, keyMd5: md5 };
}

function readRoutes(app: Routes, deps: ApiDeps): void {
  const { config, db, sessions } = deps;
  app.get(
    '/sessions/',
    {
      schema: {
        tags,
        operationId: 'listSessions',
        summary: 'List sessions, newest first',
        description:
          'A page holds only what the API key may see, so it may be shorter than `limit`, or empty. What was received is ' +
          'counted; which chunks, only the session itself tells.',
        querystring: s.ListSessionsQuery,
        response: reads(s.SessionList, 'One page of sessions'),
      },
    },
    async (request) => {
      const { connector_id: connectorId, ...ask } = request.query;
      const { rows, nextCursor } = await page(ask.cursor, () => listSessions(db, { ...ask, connectorId }));
      const caller = callerOf(request);
      const seen = rows.filter((row) => maySee(caller, row));
      const views = [];
      for (const row of seen) views.push(sessionView(row, await countsOf(db, row), config));
      return { sessions: views, next_cursor: nextCursor };
    },
  );
  app.get(
    '/sessions/:upload_id',
    {
      schema: {
        tags,
        operationId: 'getSession',
        summary: 'Show one session: what it has received, and what is missing',
        params: s.SessionParams,
        response: reads(s.SessionView, 'The session as it is now'),
      },
    },
    async (request) =>
      await viewSession(deps, await sessions.find(callerOf(request), request.params.upload_id)),
  );
}

function endRoutes(app: Routes, deps: ApiDeps): void {
  const { sessions } = deps;
  app.post(
    '/sessions/:upload_id/complete',
    {
      schema: {
        tags,
        operationId: 'completeSession',
        summary: 'Make an object of the chunks',
        description:
          'May be repeated. What is said of the whole is compared with what is there; missing chunks are named.',
        params: s.SessionParams,
        headers: IdempotencyHeaders,
        body: s.CompleteSession.nullish(),
        response: writes(s.SessionView, 'The session, which is COMPLETED'),
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { upload_id: id } = request.params;
      await sessions.complete(caller, id, given(request.body ?? {}));
      return await viewSession(deps, await sessions.find(caller, id));
    },
  );
  const cancel = async (request: FastifyRequest, id: string) => {
    const caller = callerOf(request);
    await sessions.cancel(caller, id);
    const { state } = await sessions.find(caller, id);
    return {
      upload_id: id,
      status: state === 'CANCELLED' ? ('cancelled' as const) : ('cancelling' as const),
    };
  };
  const cancelling = {
    tags,
    summary: 'Abort it, and leave nothing in the bucket',
    params: s.SessionParams,
    response: writes(s.SessionCancelled, 'It is cancelled, or will be at once'),
  };
  app.post(
    '/sessions/:upload_id/cancel',
    { schema: { ...cancelling, operationId: 'cancelSession', headers: IdempotencyHeaders } },
    async (request) => await cancel(request, request.params.upload_id),
  );
  app.delete(
    '/sessions/:upload_id',
    { schema: { ...cancelling, operationId: 'deleteSession' } },
    async (request) => await cancel(request, request.params.upload_id),
  );
}
