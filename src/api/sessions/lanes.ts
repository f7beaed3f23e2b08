/** Who may send what at once: one request a part, the newest; and so many parts of a session. */
import { LongshoreError } from '../../core/errors.js';
import { Gate } from './gate.js';

interface Lane {
  gate: Gate;
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
    const lane: Lane = this.#sessions.get(session) ?? { gate: new Gate(this.atOnce), parts: new Map() };
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
      return await lane.gate.run(both, () => work(both));
    } finally {
      end();
      if (lane.parts.get(part) === own) lane.parts.delete(part);
      if (lane.parts.size === 0) this.#sessions.delete(session);
    }
  }
}

export function superseded(part: number): LongshoreError {
  return new LongshoreError('ChunkSuperseded', `a newer request brings chunk ${part - 1}`, { op: 'receive' });
}
