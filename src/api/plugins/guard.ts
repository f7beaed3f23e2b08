/** Keeps pages of other origins out: a browser on this machine reaches loopback too, and sends what they tell it to. */
import { isIP } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import type { Config } from '../../infra/config.js';
import { pathOf } from '../problem.js';

type ApiConfig = Config['api'];

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';

/** What pages may send: of ours, of chunks, of tus, and of Uppy’s Companion client. */
const HEADERS = [
  ...['authorization', 'content-type', 'idempotency-key', 'x-requested-with', 'x-request-id'],
  ...['content-md5', 'content-digest', 'x-amz-checksum-crc32', 'x-amz-checksum-crc32c'],
  ...['x-amz-checksum-sha1', 'x-amz-checksum-sha256'],
  ...['algorithm', 'key', 'key-md5'].map((part) => `x-amz-server-side-encryption-customer-${part}`),
  ...['tus-resumable', 'upload-length', 'upload-offset', 'upload-metadata', 'upload-defer-length'],
  ...['upload-checksum', 'upload-concat', 'x-http-method-override'],
  ...['uppy-auth-token', 'uppy-credentials-params', 'uppy-versions'],
].join(', ');

/** What pages may read of our answers beside the few headers that they always may. */
const EXPOSED = [
  ...['location', 'etag', 'retry-after', 'allow', 'idempotency-replayed'],
  ...['tus-resumable', 'tus-version', 'tus-extension', 'tus-max-size', 'tus-checksum-algorithm'],
  ...['upload-length', 'upload-offset', 'upload-metadata', 'upload-defer-length', 'upload-concat'],
  ...['upload-expires'],
].join(', ');

export function guard(app: FastifyInstance, api: ApiConfig): void {
  app.addHook('onRequest', async (request, reply) => {
    // With keys nothing is done for whoever has none, whatever name the server was reached by.
    if (!api.keysRequired) checkHost(request);
    const { origin } = request.headers;
    if (origin === undefined) {
      checkSite(request);
      return;
    }
    if (api.origins.includes(origin)) return allow(request, reply, origin);
    if (!isOwn(request, origin)) throw refused(`pages of ${origin} may not call`);
  });
}

/** A name of somebody else's that leads to loopback would make a foreign page our own (DNS rebinding). */
function checkHost(request: FastifyRequest): void {
  const host = hostName(request.headers.host);
  if (host === undefined || !isLoopbackName(host)) {
    throw refused('the Host header names no loopback address');
  }
}

/** What browsers say of a request that has no `Origin`, such as an image, a form that reads, or a link. */
const OWN_SITES: readonly unknown[] = [undefined, 'same-origin', 'none'];

/** Reads without an `Origin` are not harmless: `/s3/params` begins a session. */
function checkSite(request: FastifyRequest): void {
  if (OWN_SITES.includes(request.headers['sec-fetch-site']) || isForReaders(request)) return;
  throw refused('pages of other sites may not call');
}

/** Others may link to the documentation; it shows the same to everybody. */
function isForReaders(request: FastifyRequest): boolean {
  return /^\/(?:docs(?:\/|$)|openapi\.json$)/.test(pathOf(request));
}

function hostName(header: string | undefined): string | undefined {
  const url = `http://${header ?? ''}/`;
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

function isLoopbackName(name: string): boolean {
  return name === 'localhost' || name === '[::1]' || (isIP(name) === 4 && name.startsWith('127.'));
}

function isOwn({ headers }: FastifyRequest, origin: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === headers.host;
}

function allow(request: FastifyRequest, reply: FastifyReply, origin: string): FastifyReply | undefined {
  reply.headers({
    'access-control-allow-origin': origin,
    'access-control-expose-headers': EXPOSED,
    vary: 'Origin',
  });
  // Without this header it is no preflight but a question about tus.
  if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return;
  reply.headers({
    'access-control-allow-methods': METHODS,
    'access-control-allow-headers': HEADERS,
    'access-control-max-age': '600',
  });
  return reply.code(204).send();
}

function refused(message: string): LongshoreError {
  return new LongshoreError('OriginRefused', message, { op: 'request' });
}
