/**
 * Requests to the REST API that outlast a restart of it: each is safe to repeat, so what passes (no connection, 503, 429)
 * is tried again for as long as patience lasts. Patience counts from the last answer, whichever request it was for.
 */
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool, type Dispatcher } from 'undici';
import { ERRORS, isErrorCode, LongshoreError } from '../../core/errors.js';

export interface ApiAddress {
  /** Without a slash at its end; may have a path. */
  url: string;
  key?: string | undefined;
}

export interface TransportOptions extends ApiAddress {
  /** How long nothing may answer until a request fails, ms. */
  patienceMs?: number;
  /** Requests in flight. */
  connections?: number;
  /** Told of each try that failed and is repeated. */
  onRetry?: (why: LongshoreError) => void;
}

export type Body = string | Buffer | Readable;

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the base, with its query: `/api/v1/sessions/`. */
  path: string;
  headers?: Record<string, string>;
  /** Made anew for each try. */
  body?: () => Body;
  /** Bytes of the body. */
  length?: number;
  signal: AbortSignal;
}

/** Nobody else on the network can read along. */
export function isPrivate(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

const PATIENCE_MS = 5 * 60_000;
const SHORT_PATIENCE_MS = 5_000;
/** Patiences that one request may use up while others are answered. */
const STUBBORN = 4;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
const CONNECT_MS = 10_000;
/** For an answer, besides the time that its body needs. */
const ANSWER_MS = 120_000;
/** Bytes a second of the slowest line that is still waited for. */
const FLOOR_RATE = 32 * 1024;
/** Gateways in front of the API, and the API itself while what it needs is away. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

export class ApiTransport {
  readonly #pool: Pool;
  readonly #base: string;
  readonly #headers: Record<string, string>;
  readonly #patienceMs: number;
  #answered = performance.now();
  /** Whether anything answered yet: nobody waits minutes for an address that is wrong. */
  #known = false;

  constructor(private readonly options: TransportOptions) {
    const { origin, pathname } = new URL(options.url);
    this.#base = pathname.replace(/\/+$/, '');
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#headers = {
      accept: 'application/json',
      ...(options.key === undefined ? {} : { authorization: `Bearer ${options.key}` }),
    };
    this.#pool = new Pool(origin, {
      connections: options.connections ?? 16,
      pipelining: 1,
      connect: { timeout: CONNECT_MS },
    });
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  /** The answer's JSON. Throws what the API refuses with, ApiUnavailable, or the reason of the signal. */
  async send(request: ApiRequest): Promise<unknown> {
    const began = performance.now();
    // Nothing was asked for a while: that is no silence.
    if (began - this.#answered > this.#patienceMs) this.#answered = began;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        return await this.#try(request);
      } catch (error) {
        request.signal.throwIfAborted();
        const { failure, afterMs } = asFailure(error);
        if (afterMs === undefined || this.#isTooLate(failure, began)) throw failure;
        this.options.onRetry?.(failure);
        await pauseFor(Math.max(afterMs, pause * (0.5 + Math.random() / 2)), request.signal);
      }
    }
  }

  #isTooLate({ code }: LongshoreError, began: number): boolean {
    const now = performance.now();
    // A defect does not heal: a few tries tell it from a process that went down in the middle.
    const short = !this.#known || code === 'Internal';
    const patience = short ? Math.min(this.#patienceMs, SHORT_PATIENCE_MS) : this.#patienceMs;
    // What others are answered is no help to a request that fails each time.
    return (
      now - this.#answered > patience ||
      now - began > STUBBORN * this.#patienceMs ||
      (short && now - began > patience)
    );
  }

  async #try({ method, path, headers, body, length = 0, signal }: ApiRequest): Promise<unknown> {
    const made = body?.();
    const answer = await this.#pool.request({
      method,
      path: this.#base + path,
      headers: {
        ...this.#headers,
        ...headers,
        ...(made === undefined || typeof made === 'string' ? {} : { 'content-length': String(length) }),
      },
      ...(made === undefined ? {} : { body: made }),
      headersTimeout: ANSWER_MS + Math.ceil((length / FLOOR_RATE) * 1000),
      bodyTimeout: ANSWER_MS,
      signal,
    });
    const text = await answer.body.text();
    if (!PASSING.has(answer.statusCode)) {
      this.#answered = performance.now();
      this.#known = true;
    }
    if (answer.statusCode < 300) return text === '' ? undefined : parsed(text);
    throw new Refused(answer, text);
  }
}

/** Throws the reason of the signal. */
export async function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** An answer that is no success. */
class Refused extends Error {
  readonly status: number;
  readonly retryAfter: string | undefined;

  constructor(
    { statusCode, headers }: Dispatcher.ResponseData,
    readonly text: string,
  ) {
    super(`HTTP ${statusCode}`);
    this.status = statusCode;
    const after = headers['retry-after'];
    this.retryAfter = typeof after === 'string' ? after : undefined;
  }
}

/** `afterMs`: the least to wait until it is tried again; undefined: never. */
function asFailure(error: unknown): { failure: LongshoreError; afterMs: number | undefined } {
  if (error instanceof LongshoreError) return { failure: error, afterMs: undefined };
  if (error instanceof Refused) {
    const failure = problemOf(error);
    const again = PASSING.has(error.status) && failure.retry === 'retry';
    return { failure, afterMs: again ? secondsOf(error.retryAfter) * 1000 : undefined };
  }
  const { message, code } = error as { message?: string; code?: string };
  if (code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH') {
    const failure = new LongshoreError('SourceChanged', 'the source ended before the length that it had', {
      op: 'read',
      cause: error,
    });
    return { failure, afterMs: undefined };
  }
  if (!isOfLine(error)) {
    const failure = new LongshoreError('Internal', `the request could not be made: ${String(error)}`, {
      op: 'request',
      cause: error,
    });
    return { failure, afterMs: undefined };
  }
  const why = message === undefined || message === '' ? (code ?? String(error)) : message;
  const failure = new LongshoreError('ApiUnavailable', `the API does not answer: ${why}`, {
    op: 'request',
    cause: error,
  });
  return { failure, afterMs: 0 };
}

/** What a connection fails with. A body that cannot be read, or a request that cannot be built, fails each time. */
function isOfLine(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  if (error instanceof TypeError || error instanceof RangeError || typeof code !== 'string') return false;
  if (UNREADABLE.has(code) || code === 'UND_ERR_INVALID_ARG') return false;
  return !code.startsWith('ERR_') || /^ERR_(TLS|SSL|SOCKET|STREAM_PREMATURE)/.test(code);
}

/** Of files. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'EIO',
  'EISDIR',
  'EBADF',
  'EACCES',
  'EPERM',
  'ENOENT',
  'ESTALE',
]);

function secondsOf(retryAfter: string | undefined): number {
  const seconds = /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) : 0;
  return Math.min(seconds, LONGEST_PAUSE_MS / 1000);
}

/** problem+json as the error that it was; anything else is some other server's answer. */
function problemOf({ status, text, message }: Refused): LongshoreError {
  const { code, detail, hint } = problemFields(text);
  if (isErrorCode(code)) {
    return new LongshoreError(code, detail ?? message, { op: 'request', hint: hint ?? ERRORS[code].hint });
  }
  const said = PASSING.has(status)
    ? `the API does not answer: ${message}`
    : `${message} from what should be the API`;
  return new LongshoreError(PASSING.has(status) ? 'ApiUnavailable' : 'InvalidConfig', said, {
    op: 'request',
    hint: 'Check --api (LONGSHORE_API_URL): it is the base address of `longshore api`, without /api/v1.',
  });
}

function problemFields(text: string): { code?: unknown; detail?: string; hint?: string } {
  const value = isJson(text) ? (JSON.parse(text) as unknown) : undefined;
  if (typeof value !== 'object' || value === null) return {};
  const { code, detail, hint } = value as Record<string, unknown>;
  return {
    code,
    ...(typeof detail === 'string' ? { detail } : {}),
    ...(typeof hint === 'string' ? { hint } : {}),
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

function parsed(text: string): unknown {
  if (isJson(text)) return JSON.parse(text);
  throw new LongshoreError('InvalidConfig', 'the answer is not JSON, so it is not the API that answers', {
    op: 'request',
    hint: 'Check --api (LONGSHORE_API_URL).',
  });
}
