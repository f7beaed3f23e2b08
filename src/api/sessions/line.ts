/**
 * The line to a client while its body comes. There are few ways to S3, and a body that goes as it comes occupies one for as
 * long as its client takes; so its first bytes are here before it gets one, it has to keep up a rate, and no client has all.
 */
import type { Readable } from 'node:stream';
import { LongshoreError } from '../../core/errors.js';
import { KiB, MiB } from '../../core/limits.js';
import { Gate } from './gate.js';

/** Bytes that are here before a way to S3 is taken. A body that is no longer than that needs none of its own. */
export const STRETCH = 256 * KiB;
/** Memory of all first stretches; bodies for which there is none go as they come. */
const STRETCHES = (64 * MiB) / STRETCH;

/** All lines of one process. */
export class Lines {
  #stretches = STRETCHES;
  readonly #gates = new Map<string, Gate>();

  /**
   * `share`: ways to S3 that the bodies of one API key have at most. `floorRate`: bytes a second that a body brings at least
   * while it occupies one.
   */
  constructor(
    private readonly share: number,
    readonly floorRate: number,
  ) {}

  /** null: sessions that were begun without an API key. */
  gateOf(apiKey: string | null): Gate {
    const owner = apiKey === null ? 'nobody' : `key ${apiKey}`;
    const gate = this.#gates.get(owner) ?? new Gate(this.share);
    this.#gates.set(owner, gate);
    return gate;
  }

  /** Runs `work`, and tells it whether there is memory for a first stretch. */
  async withStretch<T>(work: (room: boolean) => Promise<T>): Promise<T> {
    const room = this.#stretches > 0;
    if (room) this.#stretches -= 1;
    try {
      return await work(room);
    } finally {
      if (room) this.#stretches += 1;
    }
  }
}

/** Of `connections` to S3 some are always left for others. */
export function shareOf(connections: number): number {
  return Math.max(1, Math.floor(connections * 0.75));
}

/** What a body needs that goes to S3 as it comes. */
export interface Way {
  lines: Lines;
  apiKey: string | null;
  /** The session's, ms. */
  ttlMs: number;
  /** Called while the body is on its way, several times in `ttlMs`. */
  alive: () => void;
}

/** Looks after one body, until `end`. */
export class Watch {
  /** Whether a way to S3 is occupied. */
  occupies = false;
  readonly #broken = new AbortController();
  readonly #clock: NodeJS.Timeout;
  #lastAt = performance.now();
  #lookedAt = performance.now();
  #came = 0;
  #waitedMs = 0;

  constructor(
    body: Readable | Buffer,
    private readonly idleMs: number,
    private readonly way: Way | undefined,
  ) {
    const look = (): void => {
      way?.alive();
      if (!Buffer.isBuffer(body)) this.#look(body);
    };
    this.#clock = setInterval(look, Math.min(idleMs, way?.ttlMs ?? idleMs) / 4);
  }

  /** Ends when the line broke off; its reason is a ChunkDamaged. */
  get broken(): AbortSignal {
    return this.#broken.signal;
  }

  came(bytes: number): void {
    this.#lastAt = performance.now();
    this.#came += bytes;
  }

  end(): void {
    clearInterval(this.#clock);
  }

  #look(body: Readable): void {
    const { idleMs } = this;
    const floorRate = this.way?.lines.floorRate ?? 0;
    const now = performance.now();
    const since = now - this.#lookedAt;
    this.#lookedAt = now;
    // While S3 is what is waited for the stream is paused, and its silence no fault of the client's.
    if (body.readableFlowing !== true) {
      this.#lastAt = now;
      return;
    }
    if (now - this.#lastAt > idleMs) this.#break(`nothing came of the body for ${idleMs / 1000} s`);
    if (!this.occupies) return;
    this.#waitedMs += since;
    if (this.#waitedMs < idleMs) return;
    const least = (floorRate * this.#waitedMs) / 1000;
    if (this.#came < least) this.#break(`the body came at less than ${floorRate} bytes a second`);
    this.#waitedMs = 0;
    this.#came = 0;
  }

  #break(message: string): void {
    this.#broken.abort(
      new LongshoreError('ChunkDamaged', message, {
        op: 'receive',
        hint: 'Send it again: smaller chunks suit a slow line, and fewer at once.',
      }),
    );
  }
}

/**
 * Waits for the first stretch of a body, which is put back; a body that is no longer is read to its end and answered. Throws
 * ChunkDamaged when it has another length.
 */
export function gather(
  body: Readable,
  length: number,
  watch: Pick<Watch, 'came'>,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let held = 0;
    const stop = (): void => {
      if (!body.destroyed) body.pause();
      body.off('data', onData).off('end', onEnd).off('close', onClose);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: Error): void => {
      stop();
      reject(error);
    };
    const unfit = (what: string, cause?: Error): void =>
      fail(
        new LongshoreError('ChunkDamaged', `the body ${what} ${length} bytes`, {
          op: 'receive',
          cause,
        }),
      );
    const onData = (piece: Buffer): void => {
      pieces.push(piece);
      held += piece.length;
      watch.came(piece.length);
      if (held > length) return unfit('has more than');
      if (length <= STRETCH || held < STRETCH) return;
      stop();
      body.unshift(Buffer.concat(pieces));
      resolve(undefined);
    };
    const onEnd = (): void => {
      if (held < length) return unfit(`ended after ${held} of`);
      stop();
      resolve(Buffer.concat(pieces));
    };
    const onClose = (): void => unfit(`broke off after ${held} of`);
    const onAbort = (): void => fail(signal.reason as Error);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    // It stays: a stream that fails after we gave it up must not end the process.
    body.on('error', (cause: Error) =>
      cause instanceof LongshoreError ? fail(cause) : unfit(`broke off after ${held} of`, cause),
    );
    if (body.destroyed) return onClose();
    body.on('data', onData).on('end', onEnd).on('close', onClose).resume();
  });
}
