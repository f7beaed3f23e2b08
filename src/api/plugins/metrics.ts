/** Metrics: each answer is counted, and `/metrics` shows them in Prometheus's text format. */
import type { FastifyInstance } from 'fastify';
import { METRICS_CONTENT_TYPE } from '../../infra/telemetry/api.js';
import type { ApiDeps } from '../deps.js';

/** Counts for the whole `app`; the route belongs to `scope`, whose keys it asks for. */
export function metrics(app: FastifyInstance, scope: FastifyInstance, { telemetry }: ApiDeps): void {
  app.addHook('onResponse', (request, reply, done) => {
    // Paths hold ids, and whatever strangers try.
    const route = request.routeOptions.url ?? 'unknown';
    telemetry.request(request.method, route, reply.statusCode, reply.elapsedTime / 1000);
    done();
  });
  scope.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
    reply.type(METRICS_CONTENT_TYPE).send(await telemetry.text()),
  );
}
