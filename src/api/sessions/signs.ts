/** What a session's workflow and row are told of its client: seldom, whatever the client sends. */
import type { Logger } from '../../infra/telemetry/log.js';
import { markBegun, touchSession, type SessionRow } from '../../infra/catalog/sessions.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { KeyStore } from '../../infra/keys/index.js';
import type { TemporalLink } from '../temporal-link.js';
import { keyLifeMs } from './rules.js';

const TOUCH_MS = 30_000;
/** Sessions that are remembered; those beyond are told once more. */
const REMEMBERED = 10_000;

interface Deps {
  db: Pool;
  keys: Pick<KeyStore, 'extend'>;
  log: Logger;
  temporal: TemporalLink;
}

export class Signs {
  readonly #touched = new Map<string, number>();
  readonly #begun = new Set<string>();

  constructor(private readonly deps: Deps) {}

  /** Written at most every half minute, or ten times in its life. */
  async touch({ id, ttlMs, encryption }: SessionRow): Promise<void> {
    const now = performance.now();
    const last = this.#touched.get(id);
    if (last !== undefined && now - last < Math.min(TOUCH_MS, ttlMs / 10)) return;
    this.#remember(id, now);
    try {
      await touchSession(this.deps.db, id);
      // Its key is needed for as long as it lives, also where no byte passes through us.
      if (encryption?.type === 'SSE_C') await this.deps.keys.extend(encryption.keyRef, keyLifeMs(ttlMs));
    } catch (error) {
      if (this.#touched.get(id) === now) this.#touched.delete(id);
      throw error;
    }
  }

  #remember(id: string, now: number): void {
    // Moved to the end: the first is the one that was silent longest.
    this.#touched.delete(id);
    this.#touched.set(id, now);
    for (const oldest of this.#touched.keys()) {
      if (this.#touched.size <= REMEMBERED) break;
      this.#touched.delete(oldest);
    }
  }

  /**
   * The workflow hears of the first chunk. Chunks do not wait for it: while Temporal is away they are taken, and the next
   * one tells again.
   */
  begun(row: SessionRow): void {
    const { id } = row;
    if (row.begun || this.#begun.has(id)) return;
    this.#begun.add(id);
    this.#tellBegun(id)
      .catch((error: unknown) =>
        this.deps.log.warn({ err: error, session: id }, 'a workflow was not told of its first chunk'),
      )
      .finally(() => this.#begun.delete(id));
  }

  async #tellBegun(id: string): Promise<void> {
    await this.deps.temporal.use((client) => client.sessions.begun(id));
    await markBegun(this.deps.db, id);
  }

  /** The multipart upload of this generation is gone. */
  async lost({ id, generation }: SessionRow): Promise<void> {
    await this.deps.temporal.use((client) => client.sessions.lost(id, generation));
  }
}
