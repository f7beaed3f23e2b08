/** Bytes a second, given out in the order they are asked for. */
export interface TokenBucket {
  /** Bytes a second; Infinity: no limit. Until it is first set, nothing is given out. */
  readonly rate: number;
  setRate(rate: number): void;
  /** Resolves when so many bytes may go. Rejects with the signal's reason. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

interface Waiter {
  bytes: number;
  grant: () => void;
}

/** What was not used may be caught up with for this long. */
const BURST_S = 1;
const AT_ONCE = Promise.resolve();

export function createBucket(now: () => number = () => performance.now()): TokenBucket {
  return new Bucket(now);
}

/**
 * Whoever takes goes into debt, and the next one waits until it is paid: so a piece larger than the burst passes too,
 * and the mean is right.
 */
class Bucket implements TokenBucket {
  rate = 0;
  readonly #now: () => number;
  readonly #queue = new Set<Waiter>();
  #tokens = 0;
  #at: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => number) {
    this.#now = now;
    this.#at = now();
  }

  setRate(rate: number): void {
    if (rate === this.rate) return;
    this.#refill();
    this.rate = rate;
    // A debt made at a high rate would hold up a low one for minutes.
    if (rate !== Infinity) this.#tokens = Math.min(0, Math.max(this.#tokens, -rate));
    this.#serve();
  }

  take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.rate === Infinity) return AT_ONCE;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const abandon = (): void => {
        this.#queue.delete(waiter);
        reject(signal.reason as Error);
        this.#serve();
      };
      const grant = (): void => {
        signal.removeEventListener('abort', abandon);
        resolve();
      };
      const waiter = { bytes, grant };
      signal.addEventListener('abort', abandon, { once: true });
      this.#queue.add(waiter);
      this.#serve();
    });
  }

  #refill(): void {
    const now = this.#now();
    if (this.rate !== Infinity) {
      const earned = (this.rate * (now - this.#at)) / 1000;
      this.#tokens = Math.min(this.rate * BURST_S, this.#tokens + earned);
    }
    this.#at = now;
  }

  #serve(): void {
    this.#refill();
    for (const waiter of this.#queue) {
      if (this.rate !== Infinity && (this.#tokens < 0 || this.rate === 0)) break;
      this.#queue.delete(waiter);
      if (this.rate !== Infinity) this.#tokens -= waiter.bytes;
      waiter.grant();
    }
    clearTimeout(this.#timer);
    if (this.#queue.size === 0 || this.rate === 0) return;
    const waitMs = Math.max(1, Math.ceil((-this.#tokens / this.rate) * 1000));
    this.#timer = setTimeout(() => this.#serve(), waitMs);
  }
}
