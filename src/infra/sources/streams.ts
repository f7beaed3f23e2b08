/** Small pieces that sources share: filling a Buffer from a stream, and a stream that watches its length. */
import { Transform, type Readable } from 'node:stream';

export interface LengthWatch {
  /** Bytes that must come; undefined: any number up to `max`. */
  expected: number | undefined;
  max?: number | undefined;
  onShort: (received: number) => Error;
  onLong: (received: number) => Error;
  onTooLarge?: (received: number) => Error;
  /** What a failure of the stream itself means. */
  onError: (error: unknown) => Error;
}

/** Fills the target with exactly its length; `body` is used up or destroyed whatever happens. */
export async function fillFrom(body: Readable, target: Buffer, watch: LengthWatch): Promise<void> {
  let filled = 0;
  let verdict: Error | undefined;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (filled + chunk.length > target.length) {
        verdict = watch.onLong(filled + chunk.length);
        break;
      }
      filled += chunk.copy(target, filled);
    }
  } catch (error) {
    throw watch.onError(error);
  }
  if (verdict === undefined && filled < target.length) verdict = watch.onShort(filled);
  if (verdict !== undefined) throw verdict;
}

/** Passes `body` on, and fails as soon as its length is not what it must be. `onClose` is called once, at the end. */
export function watchedStream(body: Readable, watch: LengthWatch, onClose?: () => void): Readable {
  let received = 0;
  const out = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      if (watch.expected !== undefined && received > watch.expected) done(watch.onLong(received));
      else if (watch.max !== undefined && received > watch.max)
        done((watch.onTooLarge ?? watch.onLong)(received));
      else done(null, chunk);
    },
    flush(done) {
      done(watch.expected !== undefined && received < watch.expected ? watch.onShort(received) : null);
    },
  });
  // A body that is destroyed before its end reports that as an error; `out` has its own verdict by then.
  body.on('error', (error: unknown) => {
    if (!out.destroyed) out.destroy(watch.onError(error));
  });
  body.on('close', () => {
    if (!body.readableEnded && !out.destroyed) out.destroy(watch.onShort(received));
  });
  out.on('close', () => {
    body.destroy();
    onClose?.();
  });
  body.pipe(out);
  return out;
}
