/**
 * The end of a PutObject. Of two that are on their way S3 keeps the one that arrives last, so each asks the catalog before
 * its last bytes go whether it still counts; from then on its time is short, and whoever looks at the key can wait it out.
 */
import { LongshoreError } from '../../core/errors.js';
import { MAX_BUFFERED_PART, MiB } from '../../core/limits.js';
import type { Queryable } from '../../infra/catalog/pool.js';
import { letPutGo, type ClaimedPut } from '../../infra/catalog/session-puts.js';
import { isOnce } from '../../infra/s3/once.js';
import type { Body } from '../../infra/s3/store.js';
import { superseded } from './lanes.js';

/** For S3 to answer once it has the last byte. */
const ANSWER_MS = 30_000;
/** What may have been held until it was whole has all of its way before it. */
const HELD_MS_PER_MIB = 1_000;
/** A server may go on for a while with what it had when its client hung up. */
const SLACK_MS = 5_000;

export class Landing {
  /** CRC32 of the body, base64, once it was refused its last bytes: S3 has nothing of it. */
  withheld: string | undefined;
  readonly #late = new AbortController();
  readonly #limitMs: number;
  #clock: NodeJS.Timeout | undefined;

  constructor(
    private readonly db: Queryable,
    private readonly put: ClaimedPut,
    bytes: number,
  ) {
    this.#limitMs = ANSWER_MS + (bytes > MAX_BUFFERED_PART ? 0 : (bytes / MiB) * HELD_MS_PER_MIB);
  }

  /** Ends when it took too long; its reason is an S3Unavailable. */
  get late(): AbortSignal {
    return this.#late.signal;
  }

  /**
   * The body, whose last bytes go once it was asked: of one that is whole, with its CRC32, that is now. Then, or as the body is
   * read, it throws ChunkSuperseded unless the request counts.
   */
  async guard(body: Body, crc32?: string): Promise<Body> {
    if (isOnce(body)) {
      const settle = async (crc: string): Promise<void> => {
        await body.settle?.(crc);
        await this.#mayEnd(crc);
      };
      return { ...body, settle };
    }
    await this.#mayEnd(crc32 ?? '');
    return body;
  }

  async #mayEnd(crc32: string): Promise<void> {
    const asked = performance.now();
    const giveUp = (): void => this.#late.abort(this.#tooLate());
    this.#clock = setTimeout(giveUp, this.#limitMs);
    if (!(await letPutGo(this.db, this.put, this.#limitMs + SLACK_MS))) {
      this.withheld = crc32;
      throw superseded(this.put.partNumber);
    }
    // In a process that stood still the answer may be before the timer.
    if (performance.now() - asked >= this.#limitMs) throw this.#tooLate();
  }

  end(): void {
    clearTimeout(this.#clock);
  }

  #tooLate(): LongshoreError {
    const message = `S3 did not have the object ${Math.round(this.#limitMs / 1000)} s after its last byte was here; send it again`;
    return new LongshoreError('S3Unavailable', message, { op: 'receive', key: this.put.session });
  }
}
