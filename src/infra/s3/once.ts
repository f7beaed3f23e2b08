/**
 * Bodies that can be sent only once: what a client sends us is passed on as it comes. Their checksum is known when the last
 * byte has gone, so it follows as a trailer (`aws-chunked`); a body that breaks off, or is not what it was said to be,
 * leaves a request without its end, and the server keeps nothing of it.
 */
import { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';
import { bytesPassed } from '../young-memory.js';
import type { Body, OnceBody } from './store.js';

export const TRAILING_PAYLOAD = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
const TRAILER = 'x-amz-checksum-crc32';

/** Bytes of one aws-chunk. Servers hold a whole one: MinIO refuses more than 16 MiB. */
const CHUNK = MiB;
/** Base64 of four bytes. */
const CRC_LENGTH = 8;
const HIGH_WATER = 64 * 1024;

export function isOnce(body: Body): body is OnceBody {
  return 'once' in body;
}

/** A checksum follows it. */
export function isFramed(body: Body): body is OnceBody {
  return isOnce(body) && body.plain !== true;
}

/** Headers that say how the body is framed; they are signed. */
export function trailingHeaders(length: number): Record<string, string> {
  return {
    'content-encoding': 'aws-chunked',
    'x-amz-decoded-content-length': String(length),
    'x-amz-trailer': TRAILER,
  };
}

/** Bytes that the framed body has. */
export function framedLength(length: number): number {
  const whole = Math.floor(length / CHUNK);
  const rest = length % CHUNK;
  const frames = whole * (chunkHead(CHUNK).length + 2) + (rest === 0 ? 0 : chunkHead(rest).length + 2);
  return length + frames + '0\r\n'.length + TRAILER.length + ':'.length + CRC_LENGTH + '\r\n\r\n'.length;
}

function chunkHead(length: number): string {
  return `${length.toString(16)}\r\n`;
}

export function crcToBase64(crc: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

/** Reads a body to its end or its failure, piece by piece. `take` answers false to be asked no more until `resume`. */
export class Intake {
  crc = 0;
  seen = 0;
  #listening = false;
  #over = false;

  constructor(
    private readonly body: OnceBody,
    private readonly take: (piece: Buffer) => boolean,
    private readonly end: (error: Error | undefined) => void,
  ) {}

  resume(): void {
    const { once } = this.body;
    if (!this.#listening) {
      this.#listening = true;
      once.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose);
      // It stays: a stream that fails after we gave it up must not end the process.
      once.on('error', this.#onError);
      if (once.destroyed) return this.#onClose();
    }
    once.resume();
  }

  /** What is left of the body is the business of whoever gave it. */
  stop(): void {
    this.#over = true;
    const { once } = this.body;
    if (this.#listening && !once.destroyed) once.pause();
    this.#unhook();
  }

  #unhook(): void {
    this.body.once.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose);
  }

  readonly #onData = (piece: Buffer): void => {
    if (this.#over) return;
    this.seen += piece.length;
    bytesPassed(piece.length);
    if (this.seen > this.body.length) return this.#finish(this.#unfit('has more than'));
    this.crc = crc32(piece, this.crc);
    this.body.watch?.(piece);
    if (!this.take(piece)) this.body.once.pause();
  };

  readonly #onEnd = (): void => {
    if (this.seen < this.body.length) return this.#finish(this.#unfit(`ended after ${this.seen} of`));
    // Streams close once they have ended: from here on that is no news.
    this.#unhook();
    this.#settled().then(
      () => this.#finish(undefined),
      (error: unknown) => this.#finish(error instanceof Error ? error : new Error(String(error))),
    );
  };

  async #settled(): Promise<void> {
    await this.body.settle?.(crcToBase64(this.crc));
  }

  readonly #onError = (cause: Error): void => {
    this.#finish(
      cause instanceof LongshoreError ? cause : this.#unfit(`broke off after ${this.seen} of`, cause),
    );
  };

  readonly #onClose = (): void => this.#finish(this.#unfit(`broke off after ${this.seen} of`));

  #unfit(what: string, cause?: Error): LongshoreError {
    const message = `the body ${what} ${this.body.length} bytes`;
    return new LongshoreError('ChunkDamaged', message, { op: 'receive', cause });
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.stop();
    this.end(error);
  }
}

/** The body again, and its CRC32 once it has gone. */
export function noting(body: OnceBody): { body: OnceBody; sent: () => string | undefined } {
  let sent: string | undefined;
  const settle = async (crc: string): Promise<void> => {
    await body.settle?.(crc);
    sent = crc;
  };
  return { body: { ...body, settle }, sent: () => sent };
}

/** The body in aws-chunks, its CRC32 as the trailer. Destroying it leaves the body itself paused, not destroyed. */
export function framed(body: OnceBody): Readable {
  return new Framed(body);
}

/** The body as it is; its last piece goes only once all of it has settled, so that what is refused stays without its end. */
export function unframed(body: OnceBody): Readable {
  return new Unframed(body);
}

class Unframed extends Readable {
  readonly #intake: Intake;
  #last: Buffer | undefined;

  constructor(body: OnceBody) {
    super({ highWaterMark: HIGH_WATER });
    this.#intake = new Intake(
      body,
      (piece) => this.#follow(piece),
      (error) => {
        if (error !== undefined) return void this.destroy(error);
        this.#follow(undefined);
        this.push(null);
      },
    );
  }

  override _read(): void {
    this.#intake.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#intake.stop();
    callback(error);
  }

  #follow(piece: Buffer | undefined): boolean {
    const before = this.#last;
    this.#last = piece;
    return before === undefined || this.push(before);
  }
}

class Framed extends Readable {
  readonly #intake: Intake;
  /** Bytes that the current aws-chunk still takes. */
  #room = 0;
  #sent = 0;

  constructor(private readonly body: OnceBody) {
    super({ highWaterMark: HIGH_WATER });
    this.#intake = new Intake(
      body,
      (piece) => this.#frame(piece),
      (error) => this.#end(error),
    );
  }

  override _read(): void {
    this.#intake.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#intake.stop();
    callback(error);
  }

  #frame(piece: Buffer): boolean {
    let more = true;
    for (let at = 0; at < piece.length;) {
      if (this.#room === 0) {
        this.#room = Math.min(CHUNK, this.body.length - this.#sent);
        this.push(`${this.#sent === 0 ? '' : '\r\n'}${chunkHead(this.#room)}`);
      }
      const bytes = Math.min(this.#room, piece.length - at);
      more = this.push(bytes === piece.length ? piece : piece.subarray(at, at + bytes));
      at += bytes;
      this.#room -= bytes;
      this.#sent += bytes;
    }
    return more;
  }

  #end(error: Error | undefined): void {
    if (error !== undefined) return void this.destroy(error);
    const before = this.#sent === 0 ? '' : '\r\n';
    this.push(`${before}0\r\n${TRAILER}:${crcToBase64(this.#intake.crc)}\r\n\r\n`);
    this.push(null);
  }
}
