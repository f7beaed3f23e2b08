/** Cuts a stream into parts. Several lanes may ask at once; they are served one after another, in the order they came. */
import type { Readable } from 'node:stream';

export interface Piece {
  bytes: Buffer;
  /** What `bytes` is a part of, to be released. */
  buffer: Buffer;
}

export interface PieceBuffers {
  acquire(): Promise<Buffer>;
  release(buffer: Buffer): void;
}

export class Cutter {
  private readonly chunks: AsyncIterator<Buffer>;
  private readonly ending = new AbortController();
  private rest: Buffer = Buffer.alloc(0);
  private last: Promise<unknown> = Promise.resolve();
  private bytes = 0;
  private end: { parts: number; size: number } | undefined;
  private broken: { error: unknown } | undefined;

  /** `expected` bytes end the stream where the size is known. */
  constructor(
    stream: Readable,
    private readonly expected: number | null,
  ) {
    this.chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** Aborted once the last piece was cut. */
  get ended(): AbortSignal {
    return this.ending.signal;
  }

  /** How many parts and bytes there were; undefined before the end. */
  get outcome(): { parts: number; size: number } | undefined {
    return this.end;
  }

  /** The next piece, `length` bytes unless it is the last. undefined after the end. An empty piece is a part only when it is the first. */
  async next(part: number, buffers: PieceBuffers, length: number): Promise<Piece | undefined> {
    const before = this.last;
    const cutting = (async () => {
      await before;
      return await this.cut(part, buffers, length);
    })();
    // The one that comes after waits for this one's end, however it ends; its own caller hears of a failure.
    this.last = cutting.catch(() => undefined);
    return await cutting;
  }

  private async cut(part: number, buffers: PieceBuffers, length: number): Promise<Piece | undefined> {
    if (this.end !== undefined) return undefined;
    // A stream that broke says at the next read that it ended, which is not the same.
    if (this.broken !== undefined) throw this.broken.error;
    const buffer = await buffers.acquire();
    const filled = await this.fill(buffer.subarray(0, length)).catch((error: unknown) => {
      this.broken = { error };
      buffers.release(buffer);
      throw error;
    });
    this.bytes += filled;
    if (filled < length || this.bytes === this.expected) {
      this.end = { parts: filled === 0 && part > 1 ? part - 1 : part, size: this.bytes };
      this.ending.abort();
    }
    return { bytes: buffer.subarray(0, filled), buffer };
  }

  private async fill(target: Buffer): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      if (this.rest.length === 0) {
        const next = await this.chunks.next();
        if (next.done === true) return filled;
        this.rest = next.value;
      }
      const taken = this.rest.copy(target, filled);
      this.rest = this.rest.subarray(taken);
      filled += taken;
    }
    return filled;
  }
}
