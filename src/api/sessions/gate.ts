/** Lets so many through at once, the others in the order they came. */
export class Gate {
  #inside = 0;
  readonly #queue = new Set<() => void>();

  constructor(private readonly atOnce: number) {}

  get waiting(): number {
    return this.#queue.size;
  }

  /** While it waits, an abort rejects with the signal's reason. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#inside < this.atOnce) this.#inside += 1;
    else await this.#turn(signal);
    try {
      return await work();
    } finally {
      this.#inside -= 1;
      this.#next();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener('abort', give);
        resolve();
      };
      const give = (): void => {
        this.#queue.delete(start);
        reject(signal.reason as Error);
      };
      this.#queue.add(start);
      signal.addEventListener('abort', give, { once: true });
    });
  }

  /** The place is taken here and not by the one who wakes, so that nobody slips in between. */
  #next(): void {
    for (const start of this.#queue) {
      this.#queue.delete(start);
      this.#inside += 1;
      return start();
    }
  }
}
