/** A stream read in pieces of a size. No more is read than is asked for, so that a slow line slows down the writer. */
import type { Readable } from 'node:stream';
import { LongshoreError } from '../../core/errors.js';

/** Throws SourceUnavailable where the stream fails, and the signal's reason. */
export class StreamPieces {
  private readonly source: AsyncIterator<Buffer>;
  private rest: Buffer | undefined;
  private ended = false;

  constructor(
    input: Readable,
    private readonly signal: AbortSignal,
  ) {
    this.source = (input as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** The part of `target` that was filled: all of it, but for the last piece. */
  async fill(target: Buffer): Promise<Buffer> {
    let filled = 0;
    while (filled < target.length) {
      this.rest ??= await this.read();
      if (this.rest === undefined) break;
      const copied = this.rest.copy(target, filled);
      filled += copied;
      this.rest = copied === this.rest.length ? undefined : this.rest.subarray(copied);
    }
    return target.subarray(0, filled);
  }

  /** Waits until there is more, or never will be. */
  async isAtEnd(): Promise<boolean> {
    this.rest ??= await this.read();
    return this.rest === undefined;
  }

  /** Bytes that come before all others. */
  unread(bytes: Buffer): void {
    this.rest = this.rest === undefined ? bytes : Buffer.concat([bytes, this.rest]);
  }

  private async read(): Promise<Buffer | undefined> {
    if (this.ended) return undefined;
    const item = await orAborted(this.source.next(), this.signal).catch((error: unknown) => {
      this.signal.throwIfAborted();
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      throw new LongshoreError('SourceUnavailable', `the input cannot be read (${code})`, {
        op: 'read',
        cause: error,
        hint: 'What feeds the pipe failed; start the whole again.',
      });
    });
    if (item.done !== true) return item.value;
    this.ended = true;
    return undefined;
  }
}

/** A read of a pipe that stays silent does not end by itself. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
