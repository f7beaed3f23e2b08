/** The body of a request as it comes: with an end to waiting, and without ending the request when reading stops. */
import type { Readable } from 'node:stream';

/**
 * What there is: bytes; `end` of the body; `broken` when the connection went before it; `stopped` when it was told to;
 * `silent` when nothing came in time.
 */
export type Piece = Buffer | 'end' | 'broken' | 'stopped' | 'silent';

export class BodyReader {
  /** When bytes came last, `performance.now()`. */
  lastByteAt = performance.now();
  #wake: (() => void) | undefined;

  readonly #onChange = (): void => this.#wake?.();

  constructor(
    private readonly stream: Readable,
    private readonly stop: AbortSignal,
  ) {
    // A broken connection is an error of the stream; `next` tells of it.
    for (const event of ['end', 'close', 'error']) stream.on(event, this.#onChange);
    stop.addEventListener('abort', this.#onChange, { once: true });
  }

  /** Leaves the rest of the body to others: whoever listens for `readable` keeps them from it. */
  release(): void {
    this.stream.off('readable', this.#onChange);
  }

  /** Waits at most `ms` for bytes. */
  async next(ms: number): Promise<Piece> {
    const until = performance.now() + ms;
    if (this.stream.listenerCount('readable') === 0) this.stream.on('readable', this.#onChange);
    for (;;) {
      if (this.stop.aborted) return 'stopped';
      const bytes = this.stream.read() as Buffer | null;
      if (bytes !== null) {
        this.lastByteAt = performance.now();
        return bytes;
      }
      if (this.stream.readableEnded) return 'end';
      if (this.stream.destroyed) return 'broken';
      const left = until - performance.now();
      if (left <= 0) return 'silent';
      await this.#change(left);
    }
  }

  /** Until something happens, or `ms` have passed. */
  async #change(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}
