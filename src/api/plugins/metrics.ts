/** Each answer is logged and counted; `/metrics` shows the counts in Prometheus's text format. */
import type { FastifyInstance } from 'fastify';
import { METRICS_CONTENT_TYPE } from '../../infra/telemetry/api.js';
import type { ApiDeps } from '../deps.js';
import { pathOf } from '../problem.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its answer goes on for as long as its reader likes. */
    stream?: boolean;
  }
}

/** Counts for the whole `app`; the route belongs to `scope`, whose keys it asks for. */
export function metrics(app: FastifyInstance, scope: FastifyInstance, { telemetry }: ApiDeps): void {
  app.addHook('onResponse', (request, reply, done) => {
    // Paths hold ids, and whatever strangers try.
    const route = request.routeOptions.url ?? 'unknown';
    const { method } = request;
    const { statusCode: status, elapsedTime } = reply;
    // How long somebody follows a job is no latency.
    const streamed = request.routeOptions.config.stream === true && status === 200;
    if (!streamed) telemetry.request(method, route, status, elapsedTime / 1000);
    // Neither query nor headers: they may hold what is nobody else's business.
    const by = request.apiKey?.id;
    request.log.info({ method, path: pathOf(request), status, ms: Math.round(elapsedTime), by }, 'answered');
    done();
  });
  scope.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
    reply.type(METRICS_CONTENT_TYPE).send(await telemetry.text()),
  );
}
