/** tus 1.0 at `/files`: the library speaks the protocol, sessions are what it speaks of. */
import { Server as TusServer } from '@tus/server';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { uuidv7 } from 'uuidv7';
import { LongshoreError } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';
import { createBufferPool } from '../../infra/buffers.js';
import type { ApiDeps } from '../deps.js';
import { callerOf } from '../sessions/caller.js';
import { mustGrant } from '../sessions/rules.js';
import type { Caller } from '../sessions/service.js';
import { ALGORITHMS, parseChecksum } from '../tus/checksum.js';
import { concatenate, parseConcat, type ConcatDeps } from '../tus/concat.js';
import { answerTusProblem, asTusError, refusal, TusError } from '../tus/errors.js';
import { UploadLocks, type Purpose } from '../tus/locks.js';
import { Transfer } from '../tus/sending.js';
import { maxUpload, SessionUploads } from '../tus/uploads.js';

const PATH = '/files';
const VERSION = '1.0.0';
const OFFSET_STREAM = 'application/offset+octet-stream';
/** Memory of parts on their way through this process. */
const BUFFERS = 96 * MiB;
/** A client that cannot send these says so by X-HTTP-Method-Override. */
const OVERRIDES = ['PATCH', 'DELETE', 'HEAD'];
/** What the library is told of a request; it sees neither body nor credentials. */
const PASSED = [
  ...['tus-resumable', 'upload-length', 'upload-offset', 'upload-metadata', 'upload-defer-length'],
  ...['content-type', 'content-length'],
];

/** In a scope of their own, after `auth` and `passBodies`. */
export function tusRoutes(scope: FastifyInstance, deps: ApiDeps): void {
  const tus: ConcatDeps & { idleMs: number } = {
    db: deps.db,
    sessions: deps.sessions,
    store: deps.store,
    buffers: createBufferPool(BUFFERS),
    locks: new UploadLocks(),
    ttlMs: deps.config.sessions.ttlMs,
    maxParts: deps.config.serverProfile.maxParts,
    idleMs: deps.config.sessions.idleMs,
  };
  scope.setErrorHandler(answerTusProblem);
  scope.addHook('preClose', async () => tus.locks.stopAll());
  const handler = (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> =>
    answer(tus, request, reply);
  scope.route({ method: ['OPTIONS', 'POST'], url: PATH, schema: { hide: true }, handler });
  scope.route({
    method: ['OPTIONS', 'HEAD', 'PATCH', 'DELETE', 'POST'],
    url: `${PATH}/:id`,
    schema: { hide: true },
    handler,
  });
}

async function answer(
  tus: ConcatDeps & { idleMs: number },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  reply.header('tus-resumable', VERSION);
  const method = methodOf(request);
  checkProtocol(method, request, reply);
  const concat = method === 'POST' ? parseConcat(headerOf(request, 'upload-concat'), PATH) : undefined;
  if (!Array.isArray(concat))
    return await throughLibrary(tus, { request, reply, method, partial: concat === 'partial' });
  const metadata = headerOf(request, 'upload-metadata');
  const id = await concatenate(tus, { caller: callerOf(request), ids: concat, metadata, path: PATH });
  return reply.code(201).header('location', `${PATH}/${id}`).send();
}

function methodOf(request: FastifyRequest): string {
  const { id } = request.params as { id?: string };
  const override = headerOf(request, 'x-http-method-override')?.toUpperCase();
  if (request.method !== 'POST') return request.method;
  if (override !== undefined && id !== undefined && OVERRIDES.includes(override)) return override;
  if (id === undefined) return 'POST';
  throw new LongshoreError('MethodNotAllowed', 'an upload takes no POST', {
    op: 'tus',
    hint: `Send it to ${PATH}, or with X-HTTP-Method-Override.`,
  });
}

function checkProtocol(method: string, request: FastifyRequest, reply: FastifyReply): void {
  if (method === 'OPTIONS') return;
  if (headerOf(request, 'tus-resumable') !== VERSION) {
    reply.header('tus-version', VERSION);
    throw new TusError(412, 'InvalidInput', `the request is not of tus ${VERSION}`, {
      op: 'tus',
      hint: `Send Tus-Resumable: ${VERSION}.`,
    });
  }
  if (method !== 'PATCH' || headerOf(request, 'content-type') === OFFSET_STREAM) return;
  throw new LongshoreError('UnsupportedMediaType', `bytes are sent as ${OFFSET_STREAM}`, {
    op: 'tus',
    hint: `Send Content-Type: ${OFFSET_STREAM}.`,
  });
}

interface Exchange {
  request: FastifyRequest;
  reply: FastifyReply;
  method: string;
  partial: boolean;
}

async function throughLibrary(
  tus: ConcatDeps & { idleMs: number },
  { request, reply, method, partial }: Exchange,
): Promise<FastifyReply> {
  const checksum = headerOf(request, 'upload-checksum');
  const transfer = new Transfer({
    body: request.raw,
    checksum: checksum === undefined ? undefined : parseChecksum(checksum),
    idleMs: tus.idleMs,
  });
  const caller = callerOf(request);
  await mayAsk(tus, caller, { id: (request.params as { id?: string }).id, method });
  const uploads = new SessionUploads(tus, {
    caller,
    method,
    metadata: headerOf(request, 'upload-metadata'),
    partial,
    transfer,
  });
  let failure: unknown;
  const server = new TusServer({
    path: PATH,
    datastore: uploads,
    maxSize: maxUpload(tus),
    relativeLocation: true,
    // The guard says what pages may do.
    allowedOrigins: () => false,
    locker: tus.locks.locker(purposeOf(method), transfer),
    getFileIdFromRequest: () => (request.params as { id?: string }).id,
    namingFunction: () => uuidv7(),
    onUploadFinish: async (_request, { id }) => {
      await uploads.finish(id);
      return {};
    },
    onResponseError: (_request, error) => {
      failure = error;
      return undefined;
    },
  });
  const response = await server.handleWeb(passed(request, method));
  if (failure !== undefined) throw asTusError(failure);
  if (response.status >= 400) throw refusal(response.status, await response.text());
  return reply
    .code(response.status)
    .headers(headersOf(response, uploads, method))
    .send();
}

/** Before the lock, which tells whoever has it to leave. Throws NotFound, NotGranted. */
async function mayAsk(
  { sessions }: Pick<ConcatDeps, 'sessions'>,
  caller: Caller,
  { id, method }: { id: string | undefined; method: string },
): Promise<void> {
  if (id === undefined || !OVERRIDES.includes(method)) return;
  const row = await sessions.find(caller, id);
  if (method !== 'HEAD') mustGrant(caller, row);
}

function purposeOf(method: string): Purpose {
  if (method === 'HEAD') return 'look';
  return method === 'DELETE' ? 'end' : 'send';
}

function passed(request: FastifyRequest, method: string): Request {
  const { id } = request.params as { id?: string };
  const headers = new Headers();
  for (const name of PASSED) {
    const value = headerOf(request, name);
    if (value !== undefined) headers.set(name, value);
  }
  const path = id === undefined ? PATH : `${PATH}/${encodeURIComponent(id)}`;
  return new Request(`http://localhost${path}`, { method, headers });
}

function headersOf(response: Response, uploads: SessionUploads, method: string): Record<string, string> {
  const headers = Object.fromEntries(
    [...response.headers].filter(([name]) => !/^(access-control-|content-|connection$)/.test(name)),
  );
  if (method === 'OPTIONS') headers['tus-checksum-algorithm'] = ALGORITHMS.join(',');
  const { seen } = uploads;
  if (method !== 'HEAD' || seen === undefined) return headers;
  const { row, upload } = seen;
  if (upload.metadata !== null) headers['upload-metadata'] = upload.metadata;
  if (upload.concat !== null) headers['upload-concat'] = upload.concat;
  if (row.state !== 'COMPLETED') {
    headers['upload-expires'] = new Date(row.expiresAt).toUTCString();
    // Its bytes are put together: how far that is does not concern its client.
    if (upload.concat?.startsWith('final') === true) delete headers['upload-offset'];
  }
  return headers;
}

function headerOf({ headers }: FastifyRequest, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : value?.join(',');
}
