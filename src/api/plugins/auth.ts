/** Who asks. Off loopback only those with an API key are answered; on it a key that is given counts too. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import { describeTarget, isGranted, type GrantTarget } from '../../core/grants.js';
import { authenticate, type ApiKey } from '../../infra/catalog/api-keys.js';
import type { ApiDeps } from '../deps.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** null: nobody has to say who they are, and nobody did. */
    apiKey: ApiKey | null;
  }
}

/** To be set up in the scope of the routes that need it. */
export function auth(app: FastifyInstance, { config, db }: ApiDeps): void {
  app.decorateRequest('apiKey', null);
  app.addHook('onRequest', async (request) => {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      if (config.api.keysRequired) throw unauthenticated('there is no API key in the request');
      return;
    }
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    if (token === undefined) throw unauthenticated('the Authorization header is not Bearer and a key');
    request.apiKey = await authenticate(db, token);
  });
}

function unauthenticated(message: string): LongshoreError {
  return new LongshoreError('Unauthenticated', message, { op: 'authenticate' });
}

/** Throws NotGranted. */
export function mustGrant({ apiKey }: FastifyRequest, target: GrantTarget): void {
  if (apiKey === null || isGranted(apiKey.grants, target)) return;
  throw new LongshoreError('NotGranted', `the API key has no grant for ${describeTarget(target)}`, {
    op: 'request',
    key: describeTarget(target),
  });
}

/** Whether this caller may see and steer it: it lies in their grants, or they started it. */
export function maySee({ apiKey }: FastifyRequest, target: GrantTarget, startedBy?: string | null): boolean {
  return apiKey === null || startedBy === apiKey.id || isGranted(apiKey.grants, target);
}
