/** Chunks on their way to a session, a few at once, whatever they come from. */
import { combineCrc32 } from '../../core/crc32.js';
import { LongshoreError } from '../../core/errors.js';
import type { ChunkBody, HttpSessions } from './sessions.js';
import { pauseFor } from './transport.js';

export interface SenderOptions {
  api: Pick<HttpSessions, 'send'>;
  id: string;
  signal: AbortSignal;
  /** Told of the bytes of each chunk that is in S3, and of those that were sent for it. */
  onSent: (figures: { bytes: number; sent: number }) => void;
}

/** A chunk that damage on the way, or a lost multipart upload, sends back is tried so often. */
const MAX_TRIES = 8;
const FIRST_PAUSE_MS = 100;

/** What may be different the next time: damaged on the way; the multipart upload was lost, and another is being begun. */
const AGAIN: ReadonlySet<string> = new Set(['ChunkDamaged', 'BadDigest', 'NoSuchUpload', 'UploadConflict']);

export class Sender {
  /** By chunk: CRC32 and length of what this process knows. */
  readonly #known = new Map<number, { crc32: number; length: number }>();

  constructor(private readonly options: SenderOptions) {}

  /** `read` is asked again for each try, so that a chunk that was misread is read anew. */
  async send(chunk: number, read: () => Promise<ChunkBody>): Promise<void> {
    const { api, id, signal, onSent } = this.options;
    let sent = 0;
    for (let tried = 1, pause = FIRST_PAUSE_MS; ; tried++, pause *= 2) {
      const body = await read();
      this.know(chunk, body);
      sent += body.length;
      try {
        await api.send(id, chunk, body, signal);
        return onSent({ bytes: body.length, sent });
      } catch (error) {
        // A request that came later brings the same bytes; whether they arrived shows when the session is completed.
        if (error instanceof LongshoreError && error.code === 'ChunkSuperseded') return;
        if (!(error instanceof LongshoreError) || !AGAIN.has(error.code) || tried === MAX_TRIES) throw error;
        await pauseFor(pause, signal);
      }
    }
  }

  know(chunk: number, { crc32, length }: { crc32: number; length: number }): void {
    this.#known.set(chunk, { crc32, length });
  }

  knows(chunk: number): boolean {
    return this.#known.has(chunk);
  }

  /** Of the first `chunks` chunks together; undefined while one of them is not known. */
  crc32(chunks: number): number | undefined {
    let sum = 0;
    for (let chunk = 0; chunk < chunks; chunk++) {
      const known = this.#known.get(chunk);
      if (known === undefined) return undefined;
      sum = combineCrc32(sum, known.crc32, known.length);
    }
    return sum;
  }
}

/** Works on what `items` yields, in `lanes` at once. Resolves or throws once all lanes have ended, the first failure first. */
export async function inLanes<T>(
  lanes: number,
  items: AsyncIterable<T> | Iterable<T>,
  work: (item: T, lane: number) => Promise<void>,
): Promise<void> {
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failure: { error: unknown } | undefined;
  let taking: Promise<unknown> = Promise.resolve();
  // An iterator is asked by one lane at a time: what it yields has an order.
  const next = async (): Promise<IteratorResult<T>> => {
    const asked = taking.then(() => (failure === undefined ? source.next() : ENDED));
    taking = asked.catch(() => undefined);
    return await asked;
  };
  const lane = async (_: unknown, number: number): Promise<void> => {
    try {
      for (let item = await next(); item.done !== true; item = await next()) await work(item.value, number);
    } catch (error) {
      failure ??= { error };
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  if (failure === undefined) return;
  await source.return?.();
  throw failure.error;
}

const ENDED = { done: true, value: undefined } as const;
