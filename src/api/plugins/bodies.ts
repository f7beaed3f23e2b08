/**
 * How long a body may take. A body that is read whole has half a minute for all of it; one that is passed on as it comes may
 * take as long as it moves, which whoever reads it watches.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its body is passed on as it comes, however long that takes. */
    passesBody?: boolean;
  }
}

const WHOLE_MS = 30_000;
/** What comes after a refusal is read that far, so that the client gets to hear of it. */
const DRAIN_MS = 30_000;
const DRAIN_BYTES = 64 * MiB;

/** For the whole API, whose server sets no time of its own to a request. */
export function bodyTimes(app: FastifyInstance, wholeMs = WHOLE_MS): void {
  const timers = new WeakMap<IncomingMessage, NodeJS.Timeout>();
  app.addHook('onRequest', (request, _reply, done) => {
    const { raw } = request;
    if (hasBody(request) && request.routeOptions.config.passesBody !== true) {
      const timer = setTimeout(() => tooSlow(raw), wholeMs);
      timers.set(raw, timer);
      raw.once('close', () => clearTimeout(timer));
    }
    done();
  });
  app.addHook('preValidation', (request, _reply, done) => {
    clearTimeout(timers.get(request.raw));
    done();
  });
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

function tooSlow(raw: IncomingMessage): void {
  if (raw.complete || raw.destroyed) return;
  raw.socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  raw.destroy();
}

/** To be set up in the scope of routes that take their body as it comes, of whatever type it says that it is. */
export function passBodies(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  scope.addHook('onRoute', (route) => {
    route.config = { ...route.config, passesBody: true };
  });
  scope.addHook('onResponse', (request, _reply, done) => {
    drain(request.raw);
    done();
  });
}

/** Bytes of the body. Throws LengthRequired for one that does not say. */
export function lengthOf({ headers }: FastifyRequest): number {
  const given = headers['content-length'];
  if (given === undefined || headers['transfer-encoding'] !== undefined) {
    throw new LongshoreError('LengthRequired', 'the body names no Content-Length', { op: 'request' });
  }
  return Number(given);
}

/** Runs `work` with a signal that ends when the client breaks off. */
export async function whileConnected<T>(
  { raw }: FastifyRequest,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const gone = new AbortController();
  const onClose = (): void =>
    gone.abort(new LongshoreError('ChunkDamaged', 'the client broke off', { op: 'receive' }));
  const { socket } = raw;
  socket.once('close', onClose);
  if (socket.destroyed) onClose();
  try {
    return await work(gone.signal);
  } finally {
    socket.off('close', onClose);
  }
}

/** Reads on, within bounds, what nobody wants any more: a client that is still writing does not see the answer. */
function drain(raw: IncomingMessage): void {
  if (raw.readableEnded || raw.destroyed) return;
  let left = DRAIN_BYTES;
  const timer = setTimeout(() => raw.destroy(), DRAIN_MS);
  raw.on('data', (piece: Buffer) => {
    left -= piece.length;
    if (left < 0) raw.destroy();
  });
  raw.once('close', () => clearTimeout(timer));
  raw.resume();
}
