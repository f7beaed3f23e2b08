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
export const STRETCHES = (64 * MiB) / STRETCH;
/** In idle times: a first stretch that takes longer is waited for no more. */
const STRETCH_PATIENCE = 4;

interface Owner {
  gate: Gate;
  stretches: number;
}

/** All lines of one process. */
export class Lines {
  #stretches = STRETCHES;
  readonly #owners = new Map<string, Owner>();

  /**
   * `share`: ways to S3 that the bodies of one API key have at most. `floorRate`: bytes a second that a body brings at least
   * while it occupies one that others wait for. `waiting`: requests that wait for a connection to S3.
   */
  constructor(
    private readonly share: number,
    readonly floorRate: number,
    private readonly waiting: () => number = () => 0,
  ) {}

  /** null: sessions that were begun without an API key. */
  gateOf(apiKey: string | null): Gate {
    return this.#ownerOf(apiKey).gate;
  }

  /** Somebody waits for a way to S3 that a body of this key could leave. */
  areWanted(apiKey: string | null): boolean {
    return this.gateOf(apiKey).waiting > 0 || this.waiting() > 0;
  }

  /** A place in memory for a first stretch, and how it is given back; undefined where there is none for this key. */
  takeStretch(apiKey: string | null): (() => void) | undefined {
    const owner = this.#ownerOf(apiKey);
    if (this.#stretches === 0 || owner.stretches === shareOf(STRETCHES)) return undefined;
    this.#stretches -= 1;
    owner.stretches += 1;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      this.#stretches += 1;
      owner.stretches -= 1;
    };
  }

  #ownerOf(apiKey: string | null): Owner {
    const name = apiKey === null ? 'nobody' : `key ${apiKey}`;
    const owner = this.#owners.get(name) ?? { gate: new Gate(this.share), stretches: 0 };
    this.#owners.set(name, owner);
    return owner;
  }
}

/** What one API key has of `all`, connections to S3 or places in memory: some are always left for others. */
export function shareOf(all: number): number {
  return Math.max(1, Math.floor(all * 0.75));
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
  /** Over the last idle time while it occupied a way to S3. */
  #slow = false;

  constructor(
    body: Readable | Buffer,
    readonly idleMs: number,
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
    const now = performance.now();
    const since = now - this.#lookedAt;
    this.#lookedAt = now;
    // While S3 is what is waited for the stream is paused, and its silence no fault of the client's.
    if (body.readableFlowing !== true) {
      this.#lastAt = now;
      return;
    }
    if (now - this.#lastAt > idleMs) this.#break(`nothing came of the body for ${idleMs / 1000} s`);
    if (this.occupies && this.way !== undefined) this.#weigh(this.way, since);
  }

  /** A slow line is nobody's harm until somebody waits for what it occupies. */
  #weigh({ lines, apiKey }: Way, since: number): void {
    const { floorRate } = lines;
    this.#waitedMs += since;
    if (this.#waitedMs >= this.idleMs) {
      this.#slow = this.#came < (floorRate * this.#waitedMs) / 1000;
      this.#waitedMs = 0;
      this.#came = 0;
    }
    if (!this.#slow || !lines.areWanted(apiKey)) return;
    this.#break(`the body came at less than ${floorRate} bytes a second, and others wait`);
  }

  #break(message: string): void {
    this.#broken.abort(
      new LongshoreError('ChunkDamaged', message, {
        op: 'receive',
        hint: 'Send it again, and fewer at once on a slow line, or by tus, which keeps what came.',
      }),
    );
  }
}

/**
 * Waits for the first stretch of a body, but not for ever; what came is put back. A body that is no longer is read to its end
 * and answered. Throws ChunkDamaged when it has another length.
 */
export function gather(
  body: Readable,
  length: number,
  watch: Pick<Watch, 'came' | 'idleMs'>,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let held = 0;
    const goOn = (): void => {
      // Of a body that is over its `close` tells.
      if (body.destroyed) return;
      stop();
      if (held > 0) body.unshift(Buffer.concat(pieces));
      resolve(undefined);
    };
    const late = setTimeout(goOn, STRETCH_PATIENCE * watch.idleMs);
    const stop = (): void => {
      clearTimeout(late);
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
      if (length > STRETCH && held >= STRETCH) goOn();
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
