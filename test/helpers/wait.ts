/** Waiting on conditions. Nothing in the tests sleeps for a fixed time and hopes. */
import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** Milliseconds; 10 s by default. */
  timeout?: number;
  /** Milliseconds between tries. */
  interval?: number;
  /** What is waited for, in the message. */
  what?: string;
}

/**
 * Calls `probe` until it neither throws nor answers false or undefined, and gives its answer. Throws with the last
 * error as cause when the time is over.
 */
export async function eventually<T>(
  probe: () => T | Promise<T>,
  { timeout = 10_000, interval = 50, what = 'the condition' }: WaitOptions = {},
): Promise<Exclude<T, false | undefined>> {
  const end = performance.now() + timeout;
  for (;;) {
    let cause: unknown;
    try {
      const value = await probe();
      if (value !== false && value !== undefined) return value as Exclude<T, false | undefined>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= end) {
      const last = cause instanceof Error ? `: ${cause.message}` : '';
      throw new Error(`${what} was not met within ${timeout} ms${last}`, { cause });
    }
    await delay(interval);
  }
}

/** Holds for the whole time, else throws. For what must not happen; `ms` is the length of the watch. */
export async function stays(
  probe: () => boolean | Promise<boolean>,
  ms: number,
  what = 'the condition',
): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (!(await probe())) throw new Error(`${what} did not hold for ${ms} ms`);
    await delay(50);
  }
}
