/**
 * A job's limits, shared by all workers that move its bytes: each holder renews a lease about every second and gets its
 * part of what the limit is at that time. Within a process all activities of a job share one lease.
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { dropLease, renewLease } from './catalog/leases.js';
import type { Pool } from './catalog/pool.js';
import { createBucket, type TokenBucket } from './token-bucket.js';
import type { Body, OnceBody } from './s3/store.js';

/** What one activity holds of a job's limits, from its beginning to its end. */
export interface Lease {
  /** Waits until so many bytes may be sent. Rejects with the signal's reason. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
  /** Files that this holder may have in flight now, at most `atMost`; 0 while the limit leaves it none. */
  width(atMost: number): number;
  /** The body as it may be sent: paced where a bandwidth limit holds, or may come to hold before it is through. */
  pace(body: Body, signal: AbortSignal): Body;
  close(): Promise<void>;
}

export interface Limits {
  /** `bytes`: for what moves parts of a file, which has no use for a part of the files. */
  lease(job: number, of?: 'files' | 'bytes'): Lease;
  /** Gives back all leases; nothing must be sent any more. */
  close(): Promise<void>;
}

export interface LimitsOptions {
  renewMs?: number;
  /** What fails here is tried again at the next renewal; told for the log. */
  onError?: (error: unknown) => void;
}

const RENEW_MS = 1_000;
/** Renewals that may fail before others stop counting on this holder. */
const MISSED = 5;
/** A lease outlives its last activity by this many renewals: batches follow each other closely. */
const LINGER = 2;
/** Of a second's share: pieces in which a paced body goes. */
const PIECES = 8;
const MIN_PIECE = 1024;
const MAX_PIECE = 256 * 1024;
/** Without a limit; how much still goes when one is set. */
const FREE_PIECE = 1024 * 1024;
/** Smaller bodies are through before a limit set meanwhile would matter. */
const SOON_THROUGH = 1024 * 1024;

export function createLimits(db: Pool, options: LimitsOptions = {}): Limits {
  const { renewMs = RENEW_MS, onError = () => undefined } = options;
  const shares = new Map<number, JobShare>();
  const drop = (share: JobShare): Promise<void> => {
    if (shares.get(share.job) === share) shares.delete(share.job);
    return share.end();
  };
  return {
    lease(job, of = 'files') {
      const share = shares.get(job) ?? new JobShare(db, job, { renewMs, onError, drop });
      shares.set(job, share);
      return share.join(of);
    },
    async close() {
      await Promise.all([...shares.values()].map(drop));
    },
  };
}

interface Surroundings {
  renewMs: number;
  onError: (error: unknown) => void;
  drop: (share: JobShare) => Promise<void>;
}

/** The part of a job's limits that this process has. */
class JobShare {
  readonly #holder = randomUUID();
  readonly #members = new Set<Member>();
  /** Those that send files, and have a part of the concurrency each. */
  readonly #senders: Member[] = [];
  readonly #bucket: TokenBucket = createBucket();
  #files: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> = Promise.resolve();
  #idle = 0;
  #ended = false;

  constructor(
    private readonly db: Pool,
    readonly job: number,
    private readonly around: Surroundings,
  ) {
    this.#renew();
  }

  join(of: 'files' | 'bytes'): Lease {
    const member = new Member(this, this.#bucket);
    this.#members.add(member);
    if (of === 'files') this.#senders.push(member);
    this.#idle = 0;
    return member;
  }

  leave(member: Member): void {
    this.#members.delete(member);
    const index = this.#senders.indexOf(member);
    if (index >= 0) this.#senders.splice(index, 1);
  }

  /** Files of the process are dealt out to its activities one by one. */
  widthOf(member: Member, atMost: number): number {
    const index = this.#senders.indexOf(member);
    if (this.#files === undefined || index < 0) return 0;
    if (this.#files === Infinity) return atMost;
    const count = this.#senders.length;
    const rest = index < this.#files % count ? 1 : 0;
    return Math.min(atMost, Math.floor(this.#files / count) + rest);
  }

  async end(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#bucket.setRate(Infinity);
    // A renewal under way would bring the lease back.
    await this.#renewing;
    try {
      await dropLease(this.db, this.job, this.#holder);
    } catch (error) {
      // It expires by itself.
      this.around.onError(error);
    }
  }

  #renew(): void {
    this.#renewing = this.#ask().finally(() => {
      if (this.#ended) return;
      this.#timer = setTimeout(() => this.#tick(), this.around.renewMs);
      this.#timer.unref();
    });
  }

  #tick(): void {
    this.#idle = this.#members.size > 0 ? 0 : this.#idle + 1;
    if (this.#idle < LINGER) this.#renew();
    else void this.around.drop(this);
  }

  async #ask(): Promise<void> {
    try {
      const ttlMs = this.around.renewMs * MISSED;
      const answer = await renewLease(this.db, this.job, this.#holder, ttlMs);
      const { holders, rank, bandwidth, concurrency } = answer;
      if (this.#ended) return;
      const rest = concurrency !== null && rank < concurrency % holders ? 1 : 0;
      this.#files = concurrency === null ? Infinity : Math.floor(concurrency / holders) + rest;
      this.#bucket.setRate(bandwidth === null ? Infinity : bandwidth / holders);
    } catch (error) {
      // What was last known goes on; before anything is known nothing is sent.
      this.around.onError(error);
    }
  }
}

class Member implements Lease {
  constructor(
    private readonly share: JobShare,
    private readonly bucket: TokenBucket,
  ) {}

  take(bytes: number, signal: AbortSignal): Promise<void> {
    return this.bucket.take(bytes, signal);
  }

  width(atMost: number): number {
    return this.share.widthOf(this, atMost);
  }

  pace(body: Body, signal: AbortSignal): Body {
    // What comes once comes from a client, and belongs to no job.
    if ('once' in body) return body;
    if (body.length === 0 || (this.bucket.rate === Infinity && body.length <= SOON_THROUGH)) return body;
    return {
      length: body.length,
      open: () => Readable.from(this.#pieces(body, signal), { objectMode: false }),
    };
  }

  close(): Promise<void> {
    this.share.leave(this);
    return Promise.resolve();
  }

  async *#pieces(body: Exclude<Body, OnceBody>, signal: AbortSignal): AsyncGenerator<Buffer> {
    for await (const chunk of Buffer.isBuffer(body) ? [body] : (body.open() as AsyncIterable<Buffer>)) {
      for (let at = 0; at < chunk.length;) {
        const piece = chunk.subarray(at, at + this.#pieceSize());
        await this.bucket.take(piece.length, signal);
        yield piece;
        at += piece.length;
      }
    }
  }

  #pieceSize(): number {
    const { rate } = this.bucket;
    return rate === Infinity
      ? FREE_PIECE
      : Math.min(MAX_PIECE, Math.max(MIN_PIECE, Math.floor(rate / PIECES)));
  }
}
