/**
 * How many requests one store carries at once: a little more after each success, half after the server asks for less.
 * One limiter serves a whole worker, because the server throttles the worker and not one upload.
 */
import { LongshoreError } from '../../core/errors.js';

export interface AdaptiveLimiter {
  /** Requests that may be in flight now; between `min` and `max`, not a whole number. */
  readonly limit: number;
  readonly active: number;
  readonly waiting: number;
  /** Runs `fn` when there is room. While it waits, an abort rejects with the signal's reason. */
  run<T>(fn: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export interface LimiterOptions {
  max: number;
  min?: number;
  /** Requests that were in flight together fail together; within this time they count as one, ms. */
  cooldownMs?: number;
  now?: () => number;
}

export function createAdaptiveLimiter(options: LimiterOptions): AdaptiveLimiter {
  return new Limiter(options);
}

class Limiter implements AdaptiveLimiter {
  limit: number;
  active = 0;
  readonly #max: number;
  readonly #min: number;
  readonly #cooldownMs: number;
  readonly #now: () => number;
  readonly #queue = new Set<() => void>();
  #halvedAt = -Infinity;

  constructor({ max, min = 1, cooldownMs = 500, now = () => performance.now() }: LimiterOptions) {
    this.limit = max;
    this.#max = max;
    this.#min = min;
    this.#cooldownMs = cooldownMs;
    this.#now = now;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  async run<T>(fn: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.active < Math.floor(this.limit) && this.#queue.size === 0) this.active += 1;
    else await this.#turn(signal);
    try {
      const result = await fn();
      this.limit = Math.min(this.#max, this.limit + 1 / this.limit);
      return result;
    } catch (error) {
      if (error instanceof LongshoreError && error.code === 'SlowDown') this.#halve();
      throw error;
    } finally {
      this.active -= 1;
      this.#wake();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      const stop = (): void => {
        this.#queue.delete(start);
        reject(signal.reason as Error);
      };
      this.#queue.add(start);
      signal.addEventListener('abort', stop, { once: true });
    });
  }

  /** The slot is taken here and not by the one who wakes, so that nobody slips in between. */
  #wake(): void {
    for (const start of this.#queue) {
      if (this.active >= Math.floor(this.limit)) return;
      this.#queue.delete(start);
      this.active += 1;
      start();
    }
  }

  #halve(): void {
    const now = this.#now();
    if (now - this.#halvedAt < this.#cooldownMs) return;
    this.#halvedAt = now;
    this.limit = Math.max(this.#min, this.limit / 2);
  }
}
