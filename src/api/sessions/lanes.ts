/** Who may send what at once: one request a part, the newest; and so many parts of a session. */
import { LongshoreError } from '../../core/errors.js';

interface Lane {
  active: number;
  queue: Set<() => void>;
  parts: Map<number, { stop: AbortController; ended: Promise<void> }>;
}

export class Lanes {
  readonly #sessions = new Map<string, Lane>();

  constructor(private readonly atOnce: number) {}

  /**
   * Runs `work` when there is room. An earlier request for the same part is stopped with ChunkSuperseded, and waited for:
   * the bytes that came last count. `work` is given a signal that ends with `signal` or then.
   */
  async run<T>(
    { session, part }: { session: string; part: number },
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const lane = this.#sessions.get(session) ?? { active: 0, queue: new Set(), parts: new Map() };
    this.#sessions.set(session, lane);
    const before = lane.parts.get(part);
    const stop = new AbortController();
    let end: () => void = () => undefined;
    const own = { stop, ended: new Promise<void>((resolve) => (end = resolve)) };
    lane.parts.set(part, own);
    const both = AbortSignal.any([signal, stop.signal]);
    try {
      before?.stop.abort(superseded(part));
      await before?.ended;
      await this.#enter(lane, both);
      try {
        return await work(both);
      } finally {
        lane.active -= 1;
        for (const next of lane.queue) {
          next();
          break;
        }
      }
    } finally {
      end();
      if (lane.parts.get(part) === own) lane.parts.delete(part);
      if (lane.parts.size === 0) this.#sessions.delete(session);
    }
  }

  async #enter(lane: Lane, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (lane.active < this.atOnce) {
      lane.active += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const start = (): void => {
        lane.queue.delete(start);
        signal.removeEventListener('abort', give);
        // The place is taken here, so that nobody slips in between.
        lane.active += 1;
        resolve();
      };
      const give = (): void => {
        lane.queue.delete(start);
        reject(signal.reason as Error);
      };
      lane.queue.add(start);
      signal.addEventListener('abort', give, { once: true });
    });
  }
}

export function superseded(part: number): LongshoreError {
  return new LongshoreError('ChunkSuperseded', `a newer request brings chunk ${part - 1}`, { op: 'receive' });
}
