/** What the fault proxy can do to a request, and to which requests. */
import type { Operation, S3Request } from './s3-operations.js';

/** One request that the proxy saw. */
export interface Call extends Omit<S3Request, 'query'> {
  /** Counted from 1 in the order of arrival. */
  number: number;
  method: string;
  target: string;
  /** `performance.now()` when its head arrived. */
  at: number;
  /** Body bytes received from the client so far. */
  bytes: number;
  /** What the client was answered; absent while it is under way, or when it got no whole answer. */
  status?: number;
  /** Kinds of the faults that struck it. */
  faults: Action['kind'][];
}

export type Action =
  | { kind: 'status'; status: number; code: string; headers: Record<string, string> }
  | { kind: 'stall'; afterBytes: number | undefined }
  | { kind: 'reset'; afterBytes: number }
  | { kind: 'cutReply' }
  | { kind: 'dropReply' }
  | { kind: 'errorUnder200'; code: string; trailingNewline: boolean; forward: boolean }
  | { kind: 'delay'; ms: number }
  | { kind: 'bandwidth'; bytesPerSecond: number }
  | { kind: 'hook'; before?: Hook; after?: Hook };

/** The proxy waits for it. What it throws is given to the test by `close()`. */
export type Hook = (call: Call) => void | Promise<void>;

export const faults = {
  /** Answers without forwarding, once the whole body is in. */
  status: (status: number, code: string, headers: Record<string, string> = {}): Action => ({
    kind: 'status',
    status,
    code,
    headers,
  }),
  /** Never answers. With `afterBytes` it stops reading there (the server has the bytes before); without, it takes the whole body and forwards nothing. */
  stall: (options: { afterBytes?: number } = {}): Action => ({
    kind: 'stall',
    afterBytes: options.afterBytes,
  }),
  /** Resets the connection after so many body bytes (0: at once); the server sees the same break. */
  reset: (afterBytes = 0): Action => ({ kind: 'reset', afterBytes }),
  /** Forwards, sends half of the reply (head included), then closes. */
  cutReply: (): Action => ({ kind: 'cutReply' }),
  /** Forwards, waits for the server's whole answer, then closes without a word. */
  dropReply: (): Action => ({ kind: 'dropReply' }),
  /** Answers 200 with an error as body; `forward` lets the server do the work first. */
  errorUnder200: (code: string, options: { trailingNewline?: boolean; forward?: boolean } = {}): Action => ({
    kind: 'errorUnder200',
    code,
    trailingNewline: options.trailingNewline ?? false,
    forward: options.forward ?? false,
  }),
  /** Waits before forwarding. */
  delay: (ms: number): Action => ({ kind: 'delay', ms }),
  /** Request bodies that match share this rate. */
  bandwidth: (bytesPerSecond: number): Action => ({ kind: 'bandwidth', bytesPerSecond }),
  /** Runs code before forwarding, and after the server's whole answer but before the client has it. */
  hook: (hooks: { before?: Hook; after?: Hook }): Action => ({ kind: 'hook', ...hooks }),
};

export interface Match {
  op?: Operation | readonly Operation[];
  part?: number;
  bucket?: string;
  key?: string | RegExp;
  /** Strikes so many requests, then no more. Without it: all, until `remove()`. */
  times?: number;
  /** 0 to 1: strikes that share of the requests. */
  probability?: number;
  /** Lets so many matching requests pass first. */
  after?: number;
}

/** A rule at work. */
export class Fault {
  /** Requests struck. */
  hits = 0;
  #seen = 0;
  #removed = false;
  /** When the next byte may pass (bandwidth). */
  #free = 0;

  constructor(
    private readonly match: Match,
    readonly action: Action,
    private readonly random: () => number,
  ) {}

  remove(): void {
    this.#removed = true;
  }

  strikes(call: Call): boolean {
    const { times = Infinity, after = 0, probability = 1 } = this.match;
    if (this.#removed || !matches(this.match, call)) return false;
    this.#seen++;
    if (this.#seen <= after || this.hits >= times || this.random() >= probability) return false;
    this.hits++;
    return true;
  }

  /** Milliseconds to wait before so many more bytes may pass. */
  reserve(bytes: number, bytesPerSecond: number, now: number): number {
    if (this.#removed) return 0;
    this.#free = Math.max(this.#free, now) + (bytes / bytesPerSecond) * 1000;
    return this.#free - now;
  }
}

export function matches(match: Match, call: Pick<Call, 'op' | 'part' | 'bucket' | 'key'>): boolean {
  const { op, part, bucket, key } = match;
  if (op !== undefined && !(typeof op === 'string' ? op === call.op : op.includes(call.op))) return false;
  if (part !== undefined && part !== call.part) return false;
  if (bucket !== undefined && bucket !== call.bucket) return false;
  if (key === undefined) return true;
  return typeof key === 'string' ? key === call.key : call.key !== undefined && key.test(call.key);
}
