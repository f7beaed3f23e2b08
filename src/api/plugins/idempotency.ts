/** `Idempotency-Key`: the same POST again, by the same caller, gets the answer of the first. */
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import {
  findAnswer,
  keepAnswer,
  purgeAnswers,
  type IdempotencyRef,
} from '../../infra/catalog/idempotency.js';
import type { ApiDeps } from '../deps.js';
import { pathOf } from '../problem.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set while the answer is to be kept. */
    idempotency: (IdempotencyRef & { fingerprint: string }) | null;
  }
}

const PURGE_MS = 3_600_000;

/** To be set up in the scope of the routes, after `auth`. Not for routes whose answers hold secrets: they are kept as they are. */
export function idempotency(app: FastifyInstance, { db, log }: ApiDeps): void {
  app.decorateRequest('idempotency', null);
  app.addHook('preHandler', async (request, reply) => {
    const ref = refOf(request);
    if (ref === undefined) return;
    const fingerprint = fingerprintOf(request);
    const kept = await findAnswer(db, ref);
    if (kept === undefined) {
      request.idempotency = { ...ref, fingerprint };
      return;
    }
    if (kept.fingerprint !== fingerprint) {
      const message = 'the Idempotency-Key belongs to another request';
      throw new LongshoreError('Conflict', message, {
        op: 'request',
        key: ref.key,
        hint: 'Use a fresh Idempotency-Key for each request, and the same one only to repeat it.',
      });
    }
    if (kept.location !== null) reply.header('location', kept.location);
    return reply.code(kept.status).header('idempotency-replayed', 'true').send(kept.body);
  });
  // Failures do not come this way: a repetition may succeed.
  app.addHook('preSerialization', async (request, reply, payload) => {
    if (request.idempotency !== null && reply.statusCode < 300) {
      const { fingerprint, ...ref } = request.idempotency;
      const location = reply.getHeader('location');
      await keepAnswer(db, ref, {
        ...{ fingerprint, status: reply.statusCode, body: payload },
        location: typeof location === 'string' ? location : null,
      });
    }
    return payload;
  });
  const timer = setInterval(() => {
    purgeAnswers(db).catch((error: unknown) => log.warn({ err: error }, 'old answers could not be removed'));
  }, PURGE_MS);
  timer.unref();
  app.addHook('onClose', () => clearInterval(timer));
}

function refOf(request: FastifyRequest): IdempotencyRef | undefined {
  const key = request.headers['idempotency-key'];
  if (request.method !== 'POST' || typeof key !== 'string') return undefined;
  return { apiKey: request.apiKey?.id ?? '', key };
}

/**
 * An id for what a request creates without naming it: a repetition that overtakes the first answer, or follows a crash,
 * means the same thing. It does not age: after the answer is forgotten the key still stands for what it made, and another
 * body is a conflict, not a second upload. undefined without an Idempotency-Key.
 */
export function derivedId(request: FastifyRequest): string | undefined {
  const ref = refOf(request);
  if (ref === undefined) return undefined;
  return `i-${sha256(`${ref.apiKey}\n${pathOf(request)}\n${ref.key}`).slice(0, 32)}`;
}

function fingerprintOf(request: FastifyRequest): string {
  return sha256(`${request.method}\n${pathOf(request)}\n${JSON.stringify(request.body ?? null)}`);
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
