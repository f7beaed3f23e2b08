/** HTTP for the lean path: one undici pool an origin, and a request that carries a body and reads a short answer. */
import type { Readable } from 'node:stream';
import type { Socket } from 'node:net';
import { Pool, buildConnector } from 'undici';
import type { Dispatcher } from 'undici';
import type { StoreConfig } from './store.js';
import { trustOf } from './trust.js';

export interface LeanRequest {
  origin: string;
  /** Encoded path and query, sent as it is. */
  path: string;
  headers: Record<string, string>;
  body: Buffer | Readable;
}

export interface LeanAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** At most 64 KiB of it. */
  text: string;
}

export interface LeanHttp {
  /** PUT. An abort rejects with the signal's reason and closes the connection at once. Rejects with undici's errors. */
  put(request: LeanRequest, signal: AbortSignal): Promise<LeanAnswer>;
  close(): void;
}

type Limits = Pick<StoreConfig, 'maxConnections' | 'connectTimeoutMs' | 'socketTimeoutMs' | 'ca'>;

const MAX_ANSWER = 64 * 1024;

export function createLeanHttp(limits: Limits): LeanHttp {
  const pools = new Map<string, Pool>();
  const poolOf = (origin: string): Pool => {
    const known = pools.get(origin);
    if (known !== undefined) return known;
    const pool = createPool(origin, limits);
    pools.set(origin, pool);
    return pool;
  };
  return {
    put: (request, signal) =>
      new Promise((resolve, reject) => {
        const exchange = new Exchange(request.body, signal, resolve, reject);
        if (exchange.settled) return;
        const { path, headers, body } = request;
        poolOf(request.origin).dispatch({ method: 'PUT', path, headers, body }, exchange);
      }),
    close() {
      for (const pool of pools.values()) void pool.destroy();
      pools.clear();
    },
  };
}

/**
 * undici's own time limits count from the start of a request, whether or not bytes move, so they would end a large part
 * on a slow line. The socket's limit counts from the last progress instead, both ways.
 */
function createPool(origin: string, limits: Limits): Pool {
  const connect = buildConnector({ timeout: limits.connectTimeoutMs, ...trustOf(limits) });
  return new Pool(origin, {
    connections: limits.maxConnections,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect(options, callback) {
      connect(options, (...args) => {
        if (args[0] !== null) return callback(...args);
        endWhenStalled(args[1], limits.socketTimeoutMs);
        callback(...args);
      });
    },
  });
}

const STEPS = 4;

/**
 * Ends a connection on which nothing moved for `limitMs`. Node's timer forgives a write in progress whenever its queue
 * shrank since it last looked; looking in quarters keeps that from doubling the wait.
 */
function endWhenStalled(socket: Socket, limitMs: number): void {
  const step = Math.ceil(limitMs / STEPS);
  let quiet = 0;
  let lastAt = -Infinity;
  let lastBytes = -1;
  socket.setTimeout(step);
  socket.on('timeout', () => {
    const now = performance.now();
    const bytes = socket.bytesRead + socket.bytesWritten;
    quiet = bytes === lastBytes && now - lastAt < step * 1.5 ? quiet + 1 : 1;
    lastAt = now;
    lastBytes = bytes;
    if (quiet >= STEPS) socket.destroy(new Error(`nothing moved on the connection for ${limitMs} ms`));
    else socket.setTimeout(step);
  });
}

/** One request on its way. undici calls it back; it settles once. */
class Exchange implements Dispatcher.DispatchHandler {
  settled = false;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #headers: LeanAnswer['headers'] = {};
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(
    private readonly body: Buffer | Readable,
    private readonly signal: AbortSignal,
    private readonly resolve: (answer: LeanAnswer) => void,
    private readonly reject: (error: unknown) => void,
  ) {
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.settled) controller.abort(new Error('aborted before it began'));
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: LeanAnswer['headers'],
  ): void {
    this.#status = status;
    this.#headers = headers;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#length < MAX_ANSWER) this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  onResponseEnd(): void {
    if (!this.#settle()) return;
    const text = this.#length === 0 ? '' : Buffer.concat(this.#chunks).toString('utf8', 0, MAX_ANSWER);
    this.resolve({ status: this.#status, headers: this.#headers, text });
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#settle()) this.reject(error);
  }

  readonly #onAbort = (): void => {
    if (!this.#settle()) return;
    this.reject(this.signal.reason);
    if (!Buffer.isBuffer(this.body)) this.body.destroy();
    this.#controller?.abort(new Error('aborted'));
  };

  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.signal.removeEventListener('abort', this.#onAbort);
    return true;
  }
}
