/** Tells a path that is not there (404) from a method that its path does not take (405, with `Allow`). */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import { pathOf } from '../problem.js';

/** To be set up before the routes, which it collects. */
export function unknownRoutes(app: FastifyInstance): void {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    const path = withoutSlash(url);
    const entry = known.get(path) ?? { pattern: patternOf(path), methods: new Set<string>() };
    for (const each of [method].flat()) entry.methods.add(each);
    known.set(path, entry);
  });
  // Before a body is read: what it holds does not matter any more.
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return;
    const path = withoutSlash(pathOf(request));
    // A path that stands by itself is that, though a parameter of another would hold its last part.
    const itself = known.get(path);
    const entries = itself ? [itself] : [...known.values()].filter(({ pattern }) => pattern.test(path));
    const methods = entries.flatMap((entry) => [...entry.methods]);
    if (methods.length === 0) throw notFound(request);
    reply.header('allow', [...new Set(methods)].sort().join(', '));
    const message = `${path} does not take ${request.method}`;
    throw new LongshoreError('MethodNotAllowed', message, { op: 'request' });
  });
  // Reached only by what no hook sees.
  app.setNotFoundHandler((request) => {
    throw notFound(request);
  });
}

function notFound(request: FastifyRequest): LongshoreError {
  return new LongshoreError('NotFound', `there is nothing at ${pathOf(request)}`, {
    op: 'request',
    hint: 'The document at /openapi.json lists all paths; /docs shows it.',
  });
}

function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/$/, '') : path;
}

function patternOf(path: string): RegExp {
  const parts = path.split('/').map((part) => {
    if (part === '*') return '.*';
    return part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${parts.join('/')}$`);
}
