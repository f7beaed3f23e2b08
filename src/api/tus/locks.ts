/**
 * One request at a time sends to an upload. A request that finds another there waits for it: one that is silent, because
 * its connection is dead and nobody has noticed, is told to keep what it has and to leave; one whose bytes flow stays, and
 * the newcomer is refused. Requests to other processes know nothing of this: there the number of the writer decides.
 */
import type { Locker } from '@tus/server';
import { TusError } from './errors.js';

export interface Holder {
  /** Its bytes flow. */
  isActive(): boolean;
  /** To keep what it has, and leave. */
  stop(): void;
}

interface Held {
  holder: Holder;
  left: Promise<void>;
  leave(): void;
}

export type Purpose = 'look' | 'send' | 'end';

const LOOK_AGAIN_MS = 100;

export class UploadLocks {
  readonly #held = new Map<string, Held>();
  #ending = false;

  /** `patienceMs`: so long a newcomer waits. */
  constructor(private readonly patienceMs = 8_000) {}

  /** For one request. Whoever only looks keeps nobody out. Throws 423. */
  locker(purpose: Purpose, holder: Holder): Locker {
    return {
      newLock: (id) => {
        let mine: Held | undefined;
        return {
          lock: async () => {
            if (purpose === 'look') return await this.#look(id);
            mine = await this.take(id, purpose, holder);
          },
          unlock: async () => {
            if (mine !== undefined) this.release(id, mine);
          },
        };
      },
    };
  }

  async take(id: string, purpose: 'send' | 'end', holder: Holder): Promise<Held> {
    return await this.#when(
      id,
      (held) => purpose === 'end' || !held.holder.isActive(),
      () => {
        let leave = (): void => undefined;
        const left = new Promise<void>((resolve) => (leave = resolve));
        const mine = { holder, left, leave };
        this.#held.set(id, mine);
        if (this.#ending) holder.stop();
        return mine;
      },
    );
  }

  release(id: string, mine: Held): void {
    if (this.#held.get(id) === mine) this.#held.delete(id);
    mine.leave();
  }

  /** This process ends: everyone keeps what they have, and leaves; also who comes now. */
  stopAll(): void {
    this.#ending = true;
    for (const { holder } of this.#held.values()) holder.stop();
  }

  /** What one who is silent has in memory counts for the one who asks. */
  async #look(id: string): Promise<void> {
    if (this.#held.get(id)?.holder.isActive() === true) return;
    await this.#when(
      id,
      () => true,
      () => undefined,
    );
  }

  /** Does `then` as soon as nobody is there: of two who wait, the second finds the first. */
  async #when<T>(id: string, mayStop: (held: Held) => boolean, then: () => T): Promise<T> {
    const until = performance.now() + this.patienceMs;
    for (;;) {
      const held = this.#held.get(id);
      if (held === undefined) return then();
      if (performance.now() > until) throw locked(id);
      if (mayStop(held)) held.holder.stop();
      await soon(held.left);
    }
  }
}

/** A holder that was active may be silent a little later. */
async function soon(left: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([left, new Promise((resolve) => (timer = setTimeout(resolve, LOOK_AGAIN_MS)))]);
  clearTimeout(timer);
}

function locked(id: string): TusError {
  return new TusError(423, 'Conflict', `another request sends to ${id}`, {
    op: 'tus',
    key: id,
    hint: 'Wait until it has ended, then ask for the offset and go on from there.',
  });
}
