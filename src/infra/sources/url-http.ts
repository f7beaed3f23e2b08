/**
 * One GET or HEAD for a source: redirects by hand, time limits, and what an answer's status means. Messages name the
 * address without its query and credentials, whatever was really asked.
 */
import type { LookupFunction } from 'node:net';
import { Agent, type Dispatcher } from 'undici';
import { LongshoreError, type ErrorCode } from '../../core/errors.js';
import { S3_CONNECT_TIMEOUT_MS, S3_SOCKET_TIMEOUT_MS } from '../../core/limits.js';
import type { UrlConfig } from '../config.js';
import { addressPolicy, guardedConnector } from './url-guard.js';

export interface UrlTimeouts {
  connectMs: number;
  /** No byte for this long. */
  idleMs: number;
}

/** Replaceable in tests. */
export interface UrlSettings {
  lookup?: LookupFunction | undefined;
  /** PEM of the only certificate authority to trust. */
  ca?: string | undefined;
  timeouts?: Partial<UrlTimeouts> | undefined;
}

/** An address ready to be asked; `label` is all that people may see of it. */
export interface Target {
  label: string;
  /** Without userinfo and fragment. */
  address: URL;
  /** Value of the Authorization header, for the address's own origin only. */
  authorization: string | undefined;
}

export interface Ask {
  op: string;
  method: 'GET' | 'HEAD';
  headers: Record<string, string>;
}

export interface Answer {
  status: number;
  headers: Record<string, string | undefined>;
  /** Must be read to its end, or destroyed. */
  body: Dispatcher.ResponseData['body'];
  /** What a failure of the body means. */
  failure: (error: unknown) => Error;
  /** Ends the time limit; call once the body is done with. */
  release: () => void;
}

export interface UrlClient {
  readonly config: UrlConfig;
  /** Every status but a redirect is an answer; throws SourceNotAllowed, SourceUnavailable, SourceInvalid. */
  ask(target: Target, ask: Ask, signal: AbortSignal): Promise<Answer>;
  close(): Promise<void>;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** As much of an answer nobody wants is read to keep its connection. */
const DISCARD_LIMIT = 64 * 1024;

export function createUrlClient(config: UrlConfig, settings: UrlSettings = {}): UrlClient {
  const connectMs = settings.timeouts?.connectMs ?? S3_CONNECT_TIMEOUT_MS;
  const idleMs = settings.timeouts?.idleMs ?? S3_SOCKET_TIMEOUT_MS;
  const agent = new Agent({
    connect: guardedConnector(addressPolicy(config.allow), {
      connectTimeoutMs: connectMs,
      lookup: settings.lookup,
      ca: settings.ca,
    }),
    headersTimeout: idleMs,
    bodyTimeout: idleMs,
    connections: 64,
    // A Range request per part: nothing is gained by a second one waiting on the same connection.
    pipelining: 1,
  });
  return {
    config,
    ask: (target, ask, signal) => askFollowing(agent, config, target, ask, signal),
    close: () => agent.destroy(),
  };
}

/** Ends an answer whose body nobody wants. */
export async function discard(answer: Answer): Promise<void> {
  try {
    await answer.body.dump({ limit: DISCARD_LIMIT });
  } finally {
    answer.release();
  }
}

async function askFollowing(
  agent: Agent,
  config: UrlConfig,
  target: Target,
  ask: Ask,
  signal: AbortSignal,
): Promise<Answer> {
  signal.throwIfAborted();
  const deadline = startDeadline(signal, config.timeoutMs);
  const failure = (error: unknown): Error => failureOf(error, ask.op, target.label, signal);
  try {
    let hop = target;
    for (let redirects = 0; ; redirects += 1) {
      const raw = await send(agent, hop, ask, deadline.signal);
      const headers = flatten(raw.headers);
      const location = headers['location'];
      if (!REDIRECTS.has(raw.statusCode) || location === undefined) {
        return { status: raw.statusCode, headers, body: raw.body, failure, release: deadline.clear };
      }
      await raw.body.dump({ limit: DISCARD_LIMIT });
      if (redirects >= config.maxRedirects) {
        throw fail('SourceInvalid', `more than ${config.maxRedirects} redirects`, ask.op, target.label);
      }
      hop = redirected(hop, location, ask.op);
    }
  } catch (error) {
    deadline.clear();
    throw failure(error);
  }
}

function send(agent: Agent, hop: Target, ask: Ask, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
  const headers: Record<string, string> = {
    accept: '*/*',
    'accept-encoding': 'identity',
    'user-agent': 'longshore',
    ...ask.headers,
  };
  if (hop.authorization !== undefined) headers['authorization'] = hop.authorization;
  const { origin, pathname, search } = hop.address;
  return agent.request({ origin, path: pathname + search, method: ask.method, headers, signal });
}

/** The next hop. Its address is judged when it is connected to, like the first one. */
function redirected(from: Target, location: string, op: string): Target {
  const { label } = from;
  if (!URL.canParse(location, from.address.href))
    throw fail('SourceInvalid', 'redirects to no valid address', op, label);
  const address = new URL(location, from.address);
  if (address.protocol !== 'http:' && address.protocol !== 'https:') {
    throw fail('SourceNotAllowed', `redirects to the scheme ${address.protocol}`, op, label);
  }
  if (from.address.protocol === 'https:' && address.protocol === 'http:') {
    throw fail('SourceNotAllowed', `redirects from https to plain http at ${address.host}`, op, label);
  }
  address.username = '';
  address.password = '';
  address.hash = '';
  // Dropped for good at the first change of origin, also when a later hop comes back.
  const authorization = address.origin === from.address.origin ? from.authorization : undefined;
  return { label, address, authorization };
}

function flatten(headers: Dispatcher.ResponseData['headers']): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
  );
}

interface Deadline {
  signal: AbortSignal;
  clear: () => void;
}

/** Not AbortSignal.any: thousands of requests under one long-lived signal must leave nothing on it. */
function startDeadline(signal: AbortSignal, ms: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`not finished after ${ms} ms`)), ms);
  timer.unref();
  const onAbort = (): void => controller.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    clear: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}

function failureOf(error: unknown, op: string, label: string, signal: AbortSignal): Error {
  if (signal.aborted)
    return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
  if (error instanceof LongshoreError) {
    return error.key === undefined ? fail(error.code, error.message, op, label, error.cause) : error;
  }
  const code = codeOf(error);
  if (isCertificateFault(code)) {
    return fail('SourceInvalid', `its certificate is not accepted: ${messageOf(error)}`, op, label, error);
  }
  return fail('SourceUnavailable', messageOf(error), op, label, error);
}

/** No second try makes a certificate valid. */
function isCertificateFault(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|ERR_SSL|ERR_TLS/.test(code);
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** What an error status means; undefined for 2xx and for 416, which the caller reads by itself. */
export function statusFailure(status: number, op: string, label: string): LongshoreError | undefined {
  if ((status >= 200 && status < 300) || status === 416) return undefined;
  const said = `the server answers ${status}`;
  if (status === 404 || status === 410) return fail('SourceNotFound', said, op, label);
  if (status === 401 || status === 403 || status === 407) return fail('SourceDenied', said, op, label);
  if (status >= 500 || status === 408 || status === 425 || status === 429) {
    return fail('SourceUnavailable', said, op, label);
  }
  return fail('SourceInvalid', said, op, label);
}

export function fail(
  code: ErrorCode,
  message: string,
  op: string,
  label: string,
  cause?: unknown,
): LongshoreError {
  return new LongshoreError(code, `${label}: ${message}`, { op, key: label, cause });
}
