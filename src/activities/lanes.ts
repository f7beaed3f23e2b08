/** Bounded work side by side. */
import { setMaxListeners } from 'node:events';

/**
 * Runs `task` over `items` with at most `width` at once, beginning none after `stop` is aborted. The first failure
 * aborts the signal that the others have; it is thrown once all have ended, so that nothing runs on behind.
 */
export async function inLanes<T>(
  items: Iterable<T>,
  width: number,
  signals: { stop: AbortSignal; abort: AbortSignal },
  task: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failing = new AbortController();
  const signal = AbortSignal.any([signals.abort, failing.signal]);
  // Each lane listens, and there may be more than the ten from which Node suspects a leak.
  setMaxListeners(0, signal);
  const iterator = items[Symbol.iterator]();
  let first: { error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    while (!signals.stop.aborted && first === undefined) {
      const next = iterator.next();
      if (next.done === true) return;
      try {
        await task(next.value, signal);
      } catch (error) {
        first ??= { error };
        failing.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  if (first !== undefined) throw first.error;
}
