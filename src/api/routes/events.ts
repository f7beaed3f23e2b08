/** Server-sent events: a job's progress while it changes, until it ends or the client goes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LongshoreError } from '../../core/errors.js';
import { isTerminal } from '../../core/states.js';
import { isValidKey } from '../../infra/catalog/api-keys.js';
import type { ApiDeps, Routes } from '../deps.js';
import { asLongshoreError, problemOf, pathOf } from '../problem.js';
import { eventStream } from '../schemas/problem.js';
import { UploadParams } from '../schemas/uploads.js';
import { viewUpload } from './uploads.js';

const LOOK_MS = 1_000;
/** Proxies close what is silent for long. */
const HEARTBEAT_MS = 15_000;
/** A key that was revoked is answered no longer than this. */
const KEY_MS = 5_000;

export function eventRoutes(app: Routes, deps: ApiDeps): void {
  const stopping = new AbortController();
  let open = 0;
  app.addHook('preClose', (done) => {
    stopping.abort();
    done();
  });
  app.get(
    '/uploads/:upload_id/events',
    {
      // It would have no end.
      exposeHeadRoute: false,
      config: { stream: true },
      schema: {
        tags: ['uploads'],
        operationId: 'followUpload',
        summary: 'Follow a job to its end by server-sent events',
        description:
          '`progress` carries the job as GET shows it, each time that it changed; `end` the same, once, when it has ended; `error` a problem.',
        params: UploadParams,
        response: eventStream('Events until the job ends'),
      },
    },
    async (request, reply) => {
      if (open >= deps.config.api.streams) {
        const message = `${open} streams of events are open already`;
        throw new LongshoreError('TooManyRequests', message, { op: 'request' });
      }
      // Both before anything is waited for: others ask meanwhile, and the reader may go.
      open += 1;
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      try {
        const first = await viewUpload(deps, request, request.params.upload_id);
        await stream(deps, request, reply, first, AbortSignal.any([gone.signal, stopping.signal]));
      } finally {
        open -= 1;
      }
    },
  );
}

type View = Awaited<ReturnType<typeof viewUpload>>;

async function stream(
  deps: ApiDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  first: View,
  stop: AbortSignal,
): Promise<void> {
  reply.hijack();
  if (reply.raw.destroyed) return;
  reply.raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  try {
    await follow(deps, request, first, new Events(reply), stop);
  } finally {
    reply.raw.end();
  }
}

async function follow(
  deps: ApiDeps,
  request: FastifyRequest,
  first: View,
  events: Events,
  stop: AbortSignal,
): Promise<void> {
  let [view, shown] = [first, ''];
  let asked = performance.now();
  while (!stop.aborted) {
    const text = JSON.stringify(view);
    if (text !== shown) await events.send('progress', text, stop);
    else await events.heartbeat(stop);
    shown = text;
    if (isTerminal(view.state)) return await events.send('end', text, stop);
    await delay(LOOK_MS, undefined, { signal: stop }).catch(ignoreAbort);
    if (stop.aborted) return;
    try {
      if (performance.now() - asked >= KEY_MS) {
        await mustBeValid(deps, request);
        asked = performance.now();
      }
      view = await viewUpload(deps, request, view.upload_id);
    } catch (error) {
      const problem = problemOf(asLongshoreError(error), pathOf(request));
      // A catalog that is away comes back; whoever follows would have to ask again for nothing.
      if (problem.status === 503) continue;
      return await events.send('error', JSON.stringify(problem), stop);
    }
  }
}

/** Throws Unauthenticated. */
async function mustBeValid({ db }: ApiDeps, { apiKey }: FastifyRequest): Promise<void> {
  if (apiKey === null || (await isValidKey(db, apiKey.id))) return;
  throw new LongshoreError('Unauthenticated', 'the API key was revoked', { op: 'authenticate' });
}

class Events {
  #last = performance.now();

  constructor(private readonly reply: FastifyReply) {}

  async send(event: string, data: string, stop: AbortSignal): Promise<void> {
    await this.#write(`event: ${event}\ndata: ${data}\n\n`, stop);
  }

  async heartbeat(stop: AbortSignal): Promise<void> {
    if (performance.now() - this.#last >= HEARTBEAT_MS) await this.#write(': still here\n\n', stop);
  }

  /** A reader that does not keep up is waited for, not buffered for. */
  async #write(text: string, stop: AbortSignal): Promise<void> {
    const { raw } = this.reply;
    this.#last = performance.now();
    if (stop.aborted || raw.destroyed || raw.write(text)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        raw.off('drain', done);
        stop.removeEventListener('abort', done);
        resolve();
      };
      raw.once('drain', done);
      stop.addEventListener('abort', done, { once: true });
    });
  }
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error;
}
