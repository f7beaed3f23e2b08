/** What is known of a server's way with checksums that follow a body, and what is concluded from its answers. */
import { LongshoreError } from '../../core/errors.js';
import { s3Name } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';

/**
 * `unknown` until a part has shown it. `doubted` after a refusal, which may have had another reason. `none`: the same
 * without a trailer was taken, or the frames were kept with the bytes. Two requests that fail and pass by chance look like
 * that too, so what was concluded is doubted again after a while.
 */
type Standing = 'unknown' | 'doubted' | 'shown' | 'none';

/** Also a server may learn trailers: it is updated, or put behind another proxy. */
const DOUBT_AGAIN_MS = 600_000;

export class Trailers {
  #standing: Standing;
  /** Of `none`. */
  #until = Infinity;
  #checks = false;
  /** Until then no CRC32 goes ahead: one that did was refused, or not named. */
  #aheadFrom = -Infinity;

  constructor(
    standing: Standing,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#standing = standing;
  }

  get standing(): Standing {
    return this.#standing === 'none' && this.now() >= this.#until ? 'doubted' : this.#standing;
  }

  /** Its last answer named the CRC32 that was sent: it looks at them. */
  get checks(): boolean {
    return this.#checks && this.standing === 'shown' && this.now() >= this.#aheadFrom;
  }

  /** A part whose CRC32 went ahead of it. Throws BadDigest when the answer does not name it. */
  async promised<T>(
    site: CallSite,
    sent: string,
    call: () => Promise<T & { crc32?: string }>,
  ): Promise<T & { crc32?: string }> {
    let answer: T & { crc32?: string };
    try {
      answer = await call();
    } catch (error) {
      if (isRefusal(error)) this.#aheadFrom = this.now() + DOUBT_AGAIN_MS;
      throw error;
    }
    if (answer.crc32 === sent) return answer;
    this.#aheadFrom = this.now() + DOUBT_AGAIN_MS;
    const message = `${site.op} ${s3Name(site)}: CRC32 ${sent} went ahead, the server names ${answer.crc32 ?? 'none'}`;
    throw new LongshoreError('BadDigest', message, { op: site.op, key: s3Name(site) });
  }

  /** A part on its way with a trailer, which proves that they are taken, or raises doubts. */
  async part<T>(
    site: CallSite,
    length: number,
    call: () => Promise<T & { crc32?: string }>,
    after: { sent: () => string | undefined; size: () => Promise<number | undefined> },
  ): Promise<T & { crc32?: string }> {
    let answer: T & { crc32?: string };
    try {
      answer = await call();
    } catch (error) {
      if (this.standing === 'shown' || !isRefusal(error)) throw error;
      if (this.standing === 'unknown') this.#standing = 'doubted';
      throw new NotTaken(site, 'the server refuses a checksum after a body, or more than that', error);
    }
    await this.demand(site, { sent: after.sent(), answered: answer.crc32, length }, after.size);
    this.#standing = 'shown';
    this.#checks = answer.crc32 !== undefined;
    return answer;
  }

  /** The same again without a trailer: only where that is taken the trailer was what was refused. */
  async without<T>(call: () => Promise<T>): Promise<T> {
    try {
      const answer = await call();
      if (this.standing === 'doubted') this.#none();
      return answer;
    } catch (error) {
      if (this.standing === 'doubted' && isRefusal(error)) this.#standing = 'unknown';
      throw error;
    }
  }

  /** A server that names no checksum, or another, may have kept the frames with the bytes: the size tells. */
  async demand(
    site: CallSite,
    { sent, answered, length }: { sent: string | undefined; answered: string | undefined; length: number },
    size: () => Promise<number | undefined>,
  ): Promise<void> {
    if (answered !== undefined && answered === sent) return;
    const there = await size();
    if (there !== length) {
      this.#none();
      throw new NotTaken(site, `${length} bytes were sent, the server has ${there}`);
    }
    if (answered === undefined) return;
    const message = `${site.op} ${s3Name(site)}: CRC32 ${sent} was sent, the server names ${answered}`;
    throw new LongshoreError('BadDigest', message, { op: site.op, key: s3Name(site) });
  }

  #none(): void {
    this.#standing = 'none';
    this.#until = this.now() + DOUBT_AGAIN_MS;
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['NotSupported', 'InvalidRequest']);

function isRefusal(error: unknown): boolean {
  return error instanceof LongshoreError && REFUSALS.has(error.code);
}

/** A body with a trailer did not arrive as it was; the server may not know trailers. */
export class NotTaken extends LongshoreError {
  constructor(site: CallSite, why: string, cause?: unknown) {
    super('S3Unavailable', `${site.op} ${s3Name(site)}: ${why}`, {
      op: site.op,
      key: s3Name(site),
      cause,
      hint: 'Send it again: then it is found out, and held until it is whole where that is needed.',
    });
  }
}
