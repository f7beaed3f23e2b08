/** The REST API as a fastify server: plugins from the outside in, then routes. It listens nowhere yet. */
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import type { Socket } from 'node:net';
import fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { LongshoreError } from '../core/errors.js';
import { KiB } from '../core/limits.js';
import type { ApiDeps } from './deps.js';
import { auth } from './plugins/auth.js';
import { bodyTimes, passBodies } from './plugins/bodies.js';
import { guard } from './plugins/guard.js';
import { idempotency } from './plugins/idempotency.js';
import { openapi } from './plugins/openapi.js';
import { metrics } from './plugins/metrics.js';
import { unknownRoutes } from './plugins/unknown-routes.js';
import { answerProblem, asLongshoreError, PROBLEM_TYPE, problemOf } from './problem.js';
import { chunkRoutes } from './routes/chunks.js';
import { fileRoutes } from './routes/files.js';
import { eventRoutes } from './routes/events.js';
import { nodeRoutes } from './routes/nodes.js';
import { objectRoutes } from './routes/objects.js';
import { partRoutes } from './routes/parts.js';
import { rotationRoutes } from './routes/rotation.js';
import { serviceRoutes } from './routes/service.js';
import { sessionRoutes } from './routes/sessions.js';
import { steeringRoutes } from './routes/steering.js';
import { tusRoutes } from './routes/tus.js';
import { uploadRoutes } from './routes/uploads.js';
import { uppyRoutes } from './routes/uppy.js';

const HEADERS_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_MS = 72_000;
/** Ids have up to 200 characters, which may all be escaped. */
const MAX_PARAM_LENGTH = 600;
/** A cursor of the longest path fits. */
const MAX_HEADER_SIZE = 64 * KiB;

export async function createApi(deps: ApiDeps): Promise<FastifyInstance> {
  const app = createServer(deps);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerProblem);
  // A page of any origin may send plain text without being asked; JSON it may not.
  app.removeContentTypeParser('text/plain');
  await app.register(helmet, { contentSecurityPolicy: { directives: { defaultSrc: ["'none'"] } } });
  bodyTimes(app);
  guard(app, deps.config.api);
  await limitRate(app, deps.config.api.rate);
  unknownRoutes(app);
  await openapi(app, deps);
  serviceRoutes(app.withTypeProvider<ZodTypeProvider>(), deps);
  await addRoutes(app, deps);
  await app.ready();
  return app;
}

function createServer({ config, log }: ApiDeps): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = log;
  const { trustedProxies } = config.api;
  return fastify({
    loggerInstance,
    // Each answer has a line of its own, without what only headers and queries hold.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: config.api.bodyLimit,
    // A chunk may take as long as it moves; `bodyTimes` watches every other body.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PARAM_LENGTH },
    forceCloseConnections: 'idle',
    // Requests that come while it stops are answered as ever, or find the door shut.
    return503OnClosing: false,
    http: { maxHeaderSize: MAX_HEADER_SIZE, headersTimeout: HEADERS_TIMEOUT_MS },
    frameworkErrors: (error, request, reply) => void answerProblem(error, request, reply),
    clientErrorHandler: answerBadRequest,
  });
}

/** Each scope asks who calls; what bodies it takes is its own. */
async function addRoutes(app: FastifyInstance, deps: ApiDeps): Promise<void> {
  await app.register((scope, _options, done) => {
    auth(scope, deps);
    metrics(app, scope, deps);
    done();
  });
  await app.register(
    (scope, _options, done) => {
      auth(scope, deps);
      idempotency(scope, deps);
      const routes = scope.withTypeProvider<ZodTypeProvider>();
      for (const add of [
        uploadRoutes,
        steeringRoutes,
        fileRoutes,
        eventRoutes,
        objectRoutes,
        sessionRoutes,
        rotationRoutes,
        nodeRoutes,
      ])
        add(routes, deps);
      done();
    },
    { prefix: '/api/v1' },
  );
  // Signed requests are secrets: no answer of these is kept.
  await app.register(
    (scope, _options, done) => {
      auth(scope, deps);
      partRoutes(scope.withTypeProvider<ZodTypeProvider>(), deps);
      done();
    },
    { prefix: '/api/v1' },
  );
  await app.register(
    (scope, _options, done) => {
      auth(scope, deps);
      passBodies(scope);
      chunkRoutes(scope.withTypeProvider<ZodTypeProvider>(), deps);
      done();
    },
    { prefix: '/api/v1' },
  );
  await app.register((scope, _options, done) => {
    auth(scope, deps);
    passBodies(scope);
    tusRoutes(scope, deps);
    done();
  });
  await app.register(
    (scope, _options, done) => {
      auth(scope, deps);
      uppyRoutes(scope.withTypeProvider<ZodTypeProvider>(), deps);
      done();
    },
    { prefix: '/s3' },
  );
}

/** Before anything else is done for a caller: whoever tries keys is slowed down too. */
async function limitRate(app: FastifyInstance, rate: number): Promise<void> {
  if (rate === 0) return;
  await app.register(rateLimit, {
    global: false,
    max: rate,
    timeWindow: 60_000,
    errorResponseBuilder: (_request, { after }) =>
      new LongshoreError('TooManyRequests', `more than ${rate} requests in a minute`, {
        op: 'request',
        hint: `Wait ${after}.`,
      }),
  });
  app.addHook('onRequest', app.rateLimit());
}

/** What is no HTTP gets an answer without a request. */
function answerBadRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy(error);
  const problem = problemOf(asLongshoreError(Object.assign(error, { statusCode: 400 })), '/');
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
