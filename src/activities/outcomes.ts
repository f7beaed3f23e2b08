/** Outcomes on their way into the catalog: gathered while the last write is under way, then written together. */
import { setTimeout as sleep } from 'node:timers/promises';

/** What a kill makes sent twice is what was sent within this time, and one write. */
const GATHER_MS = 20;

export class OutcomeWriter<T> {
  #waiting: T[] = [];
  #writing: Promise<void> | undefined;
  #hurry = new AbortController();
  #failure: { error: unknown } | undefined;

  /** `onFailure` is told at once, so that nothing more is sent whose outcome could not be written. */
  constructor(
    private readonly save: (outcomes: T[]) => Promise<void>,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  add(outcome: T): void {
    this.#waiting.push(outcome);
    if (this.#failure === undefined) this.#writing ??= this.#write();
  }

  /** Writes what is left. Throws what a write threw. */
  async flush(): Promise<void> {
    this.#hurry.abort();
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        await this.#gather();
        const group = this.#waiting;
        this.#waiting = [];
        await this.save(group);
      }
    } catch (error) {
      this.#failure = { error };
      this.onFailure(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #gather(): Promise<void> {
    const { signal } = this.#hurry;
    if (signal.aborted) return;
    await sleep(GATHER_MS, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}
