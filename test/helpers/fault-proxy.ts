/**
 * An HTTP proxy in front of an S3 server that knows which operation passes and can spoil it. The Host header goes on
 * as it came: it is part of the client's signature.
 */
import { once, setMaxListeners } from 'node:events';
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Fault, matches } from './faults.js';
import type { Action, Call, Match } from './faults.js';
import { errorXml, recognise } from './s3-operations.js';
import type { Operation } from './s3-operations.js';

export { faults } from './faults.js';

/** The connection's own headers; `Expect` is answered by this server. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'expect', 'upgrade']);
/** Small enough for a bandwidth of some hundred KiB a second to be smooth. */
const PACED_CHUNK = 16 * 1024;

/** An idle connection is given up before the server does, who would reset the next request on it. */
const IDLE_MS = 2000;

/** The client's connection was ended on purpose. */
class Ended extends Error {}

interface Reply {
  message: IncomingMessage;
  body: Buffer;
}

export async function startFaultProxy(
  upstream: string,
  options: { seed?: number } = {},
): Promise<FaultProxy> {
  const proxy = new FaultProxy(new URL(upstream), random(options.seed ?? 1));
  await proxy.listen();
  return proxy;
}

export class FaultProxy {
  /** Every request in the order of arrival. */
  readonly log: Call[] = [];
  /** `performance.now()` of the last body byte from a client. */
  lastByteAt = 0;
  #bytesReceived = 0;
  readonly #faults: Fault[] = [];
  readonly #hookErrors: unknown[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256, timeout: IDLE_MS });
  readonly #server: Server;

  constructor(
    private readonly upstream: URL,
    private readonly random: () => number,
  ) {
    // Each request that is delayed listens.
    setMaxListeners(0, this.#closing.signal);
    this.#server = createServer(
      { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 60_000 },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Rules are looked at in the order they were made. Delays, bandwidths and hooks add up; of the others the first decides. */
  fault(match: Match, action: Action): Fault {
    const fault = new Fault(match, action, this.random);
    this.#faults.push(fault);
    return fault;
  }

  clearFaults(): void {
    for (const fault of this.#faults.splice(0)) fault.remove();
  }

  calls(op?: Operation, match: Omit<Match, 'op' | 'times' | 'after' | 'probability'> = {}): number {
    return this.log.filter((call) => matches(op === undefined ? match : { ...match, op }, call)).length;
  }

  /** Body bytes received from clients, all requests together. */
  get bytesReceived(): number {
    return this.#bytesReceived;
  }

  /** By part number: requests, and body bytes received for them, broken ones too. */
  parts(match: Pick<Match, 'bucket' | 'key'> = {}): Map<number, { count: number; bytes: number }> {
    const parts = new Map<number, { count: number; bytes: number }>();
    for (const call of this.log) {
      if (call.part === undefined || !matches({ ...match, op: ['UploadPart', 'UploadPartCopy'] }, call))
        continue;
      const entry = parts.get(call.part) ?? { count: 0, bytes: 0 };
      parts.set(call.part, { count: entry.count + 1, bytes: entry.bytes + call.bytes });
    }
    return parts;
  }

  /** Ends stalled requests too. Throws what hooks threw. */
  async close(): Promise<void> {
    this.#closing.abort();
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#agent.destroy();
    await closed;
    if (this.#hookErrors.length > 0)
      throw new AggregateError(this.#hookErrors, 'hooks of the fault proxy failed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { query: _, ...known } = recognise(request.method ?? '', request.url ?? '/', request.headers);
    const call: Call = {
      ...known,
      number: this.log.length + 1,
      method: request.method ?? '',
      target: request.url ?? '/',
      at: performance.now(),
      bytes: 0,
      faults: [],
    };
    this.log.push(call);
    const struck = this.#strike(call);
    call.faults = struck.map((fault) => fault.action.kind);
    try {
      await this.#carry({ request, response, call, struck });
    } catch (error) {
      if (error instanceof Ended || this.#closing.signal.aborted) return;
      // A break on one side is passed on as a break to the other, which is what a proxy's client would see.
      response.destroy();
    }
  }

  /** A rule that comes too late to act is not asked, so that its `times` are not spent. */
  #strike(call: Call): Fault[] {
    const struck: Fault[] = [];
    for (const fault of this.#faults) {
      const late = isSpoiler(fault) && struck.some(isSpoiler);
      if (!late && fault.strikes(call)) struck.push(fault);
    }
    return struck;
  }

  async #carry(exchange: Exchange): Promise<void> {
    const { call, struck } = exchange;
    for (const { action } of struck) {
      if (action.kind === 'delay') await delay(action.ms, undefined, { signal: this.#closing.signal });
      if (action.kind === 'hook' && action.before !== undefined)
        await this.#runHook(() => action.before?.(call));
    }
    const spoiler = struck.find(
      ({ action }) => !['delay', 'bandwidth', 'hook'].includes(action.kind),
    )?.action;
    if (spoiler !== undefined && !forwards(spoiler)) {
      await this.#receive(exchange, undefined, undefined);
      if (spoiler.kind === 'stall') return;
      answerOurselves(exchange, spoiler);
      return;
    }
    const reply = this.#forward(exchange, spoiler);
    const hooked = struck.some(({ action }) => action.kind === 'hook' && action.after !== undefined);
    if (spoiler === undefined && !hooked) await relay(await reply, exchange);
    else await this.#answerSpoilt(await collect(await reply), exchange, spoiler);
  }

  async #runHook(hook: () => void | Promise<void>): Promise<void> {
    try {
      await hook();
    } catch (error) {
      this.#hookErrors.push(error);
    }
  }

  /** Sends the request on and gives the head of the answer. */
  async #forward(exchange: Exchange, spoiler: Action | undefined): Promise<IncomingMessage> {
    const { request } = exchange;
    const outgoing = httpRequest({
      host: this.upstream.hostname,
      port: this.upstream.port,
      method: request.method,
      path: request.url,
      headers: forwardedHeaders(request.rawHeaders),
      agent: this.#agent,
      setHost: false,
    });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve);
      outgoing.once('error', reject);
    });
    // It may fail while the body is still being sent; the body's loop throws then.
    answered.catch(() => undefined);
    const broken = (): void => void outgoing.destroy();
    request.once('close', () => request.complete || broken());
    exchange.response.once('close', () => exchange.response.writableFinished || broken());
    try {
      await this.#receive(exchange, { outgoing, answered }, spoiler);
    } catch (error) {
      outgoing.destroy();
      throw error;
    }
    return await answered;
  }

  /** Reads the request's body, at the pace allowed, up to where it is to break. */
  async #receive(
    exchange: Exchange,
    server: Upstream | undefined,
    spoiler: Action | undefined,
  ): Promise<void> {
    let early = false;
    // A server that refuses may answer before it has the body, and never read the rest.
    const refused = server?.answered.then(() => void (early = true)).catch(() => undefined);
    const limit = breakPoint(spoiler);
    if (limit === 0) await this.#break(exchange, spoiler);
    const paced = exchange.struck.filter(({ action }) => action.kind === 'bandwidth');
    for await (const chunk of exchange.request as AsyncIterable<Buffer>) {
      for (const piece of slices(chunk, paced.length === 0 ? chunk.length : PACED_CHUNK)) {
        await this.#pace(paced, piece.length);
        exchange.call.bytes += piece.length;
        this.#bytesReceived += piece.length;
        this.lastByteAt = performance.now();
        if (server !== undefined && !early) await Promise.race([send(server.outgoing, piece), refused]);
        if (exchange.call.bytes >= limit) await this.#break(exchange, spoiler);
      }
    }
    if (!early) server?.outgoing.end();
  }

  async #break(exchange: Exchange, spoiler: Action | undefined): Promise<never> {
    if (spoiler?.kind === 'reset') exchange.request.socket.resetAndDestroy();
    // A stall ends when the client gives up, or the proxy closes.
    else await once(exchange.request.socket, 'close');
    throw new Ended();
  }

  async #pace(paced: readonly Fault[], bytes: number): Promise<void> {
    for (const fault of paced) {
      if (fault.action.kind !== 'bandwidth') continue;
      const ms = fault.reserve(bytes, fault.action.bytesPerSecond, performance.now());
      if (ms > 1) await delay(ms, undefined, { signal: this.#closing.signal });
    }
  }

  async #answerSpoilt(reply: Reply, exchange: Exchange, spoiler: Action | undefined): Promise<void> {
    for (const { action } of exchange.struck) {
      if (action.kind === 'hook' && action.after !== undefined)
        await this.#runHook(() => action.after?.(exchange.call));
    }
    const { socket } = exchange.request;
    if (spoiler?.kind === 'dropReply') {
      socket.destroy();
    } else if (spoiler?.kind === 'cutReply') {
      const whole = rawReply(reply);
      socket.write(whole.subarray(0, Math.ceil(whole.length / 2)), () => socket.destroy());
    } else if (spoiler !== undefined) {
      answerOurselves(exchange, spoiler);
    } else {
      exchange.response.writeHead(
        reply.message.statusCode ?? 502,
        forwardedHeaders(reply.message.rawHeaders),
      );
      exchange.call.status = reply.message.statusCode ?? 502;
      exchange.response.end(reply.body);
    }
  }
}

interface Upstream {
  outgoing: ClientRequest;
  answered: Promise<IncomingMessage>;
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  call: Call;
  struck: readonly Fault[];
}

function isSpoiler({ action }: Fault): boolean {
  return !['delay', 'bandwidth', 'hook'].includes(action.kind);
}

/** Whether the server sees anything of the request. */
function forwards(spoiler: Action): boolean {
  if (spoiler.kind === 'status') return false;
  if (spoiler.kind === 'errorUnder200') return spoiler.forward;
  return spoiler.kind !== 'stall' || spoiler.afterBytes !== undefined;
}

function breakPoint(spoiler: Action | undefined): number {
  return spoiler?.kind === 'reset' || spoiler?.kind === 'stall' ? (spoiler.afterBytes ?? Infinity) : Infinity;
}

function answerOurselves({ call, request, response }: Exchange, spoiler: Action): void {
  const under200 = spoiler.kind === 'errorUnder200';
  if (!under200 && spoiler.kind !== 'status') throw new Error(`${spoiler.kind} has no answer of its own`);
  const body =
    errorXml(spoiler.code, 'made by the fault proxy') + (under200 && spoiler.trailingNewline ? '\n' : '');
  call.status = under200 ? 200 : spoiler.status;
  response.writeHead(call.status, {
    'content-type': 'application/xml',
    'x-amz-request-id': `fault-${call.number}`,
    ...(under200 ? {} : spoiler.headers),
    ...(request.method === 'HEAD' ? {} : { 'content-length': Buffer.byteLength(body) }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function relay(reply: IncomingMessage, { call, response }: Exchange): Promise<void> {
  response.writeHead(reply.statusCode ?? 502, forwardedHeaders(reply.rawHeaders));
  call.status = reply.statusCode ?? 502;
  for await (const chunk of reply as AsyncIterable<Buffer>) await send(response, chunk);
  response.end();
}

async function collect(message: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
  return { message, body: Buffer.concat(chunks) };
}

/** The answer as bytes, with a length in place of chunks. */
function rawReply({ message, body }: Reply): Buffer {
  const lines = [`HTTP/1.1 ${message.statusCode} ${message.statusMessage}`];
  const headers = forwardedHeaders(message.rawHeaders);
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (!['transfer-encoding', 'content-length'].includes(name.toLowerCase()))
      lines.push(`${name}: ${headers[at + 1]}`);
  }
  lines.push(`Content-Length: ${body.length}`, '', '');
  return Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), body]);
}

function forwardedHeaders(raw: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] as string;
    if (!HOP_BY_HOP.has(name.toLowerCase())) kept.push(name, raw[at + 1] as string);
  }
  return kept;
}

async function send(stream: ClientRequest | ServerResponse, bytes: Buffer): Promise<void> {
  if (stream.destroyed) throw new Error('the other side has gone');
  if (stream.write(bytes)) return;
  const settled = new AbortController();
  const { signal } = settled;
  try {
    await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })]);
  } finally {
    settled.abort();
  }
}

function* slices(chunk: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size);
}

/** mulberry32: a test that uses probabilities is to fail the same way twice. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
