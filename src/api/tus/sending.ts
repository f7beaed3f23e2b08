/** The body of one request on its way into an upload. */
import type { Readable } from 'node:stream';
import { LongshoreError } from '../../core/errors.js';
import { GiB } from '../../core/limits.js';
import { BodyReader, type Piece } from './body.js';
import { Digester, type Checksum } from './checksum.js';
import type { Holder } from './locks.js';
import { Spool } from './spool.js';
import type { UploadWriter } from './writer.js';

export interface Sending {
  body: Readable;
  checksum: Checksum | undefined;
  /** A body on which nothing comes for so long has broken off, ms. */
  idleMs: number;
}

/** A body with a checksum is looked at before it counts, so it is put by until then. */
export const MAX_CHECKED = GiB;
/** How often slow bytes are thought of. */
const TICK_MS = 1_000;
/** A connection without bytes for so long may be dead, and does not keep others out. */
const QUIET_MS = 2_000;

/** Ends as the connection did. */
export type Ending = 'end' | 'broken' | 'stopped';

export class Transfer implements Holder {
  readonly #stop = new AbortController();
  readonly #reader: BodyReader;
  #busy = false;

  constructor(private readonly sending: Sending) {
    this.#reader = new BodyReader(sending.body, this.#stop.signal);
  }

  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  isActive(): boolean {
    if (this.sending.body.destroyed || this.#stop.signal.aborted) return false;
    return this.#busy || performance.now() - this.#reader.lastByteAt < QUIET_MS;
  }

  stop(): void {
    this.#stop.abort(
      new LongshoreError('ChunkSuperseded', 'a newer request asks for the upload', { op: 'tus' }),
    );
  }

  /**
   * Hands the body to the writer, up to `limit` bytes of the upload in all. Throws RequestTooLarge beyond it, and ChunkDamaged
   * before any of the body has counted.
   */
  async into(writer: UploadWriter, limit: number): Promise<Ending> {
    const { checksum } = this.sending;
    try {
      if (checksum !== undefined) return await this.#checked(writer, limit, checksum);
      return await this.#each(limit - writer.offset, (bytes) => writer.accept(bytes), writer);
    } finally {
      this.#reader.release();
    }
  }

  async #checked(writer: UploadWriter, limit: number, checksum: Checksum): Promise<Ending> {
    const spool = await Spool.open();
    const digester = new Digester(checksum);
    try {
      const ending = await this.#each(Math.min(MAX_CHECKED, limit - writer.offset), async (bytes) => {
        digester.update(bytes);
        await spool.append(bytes);
      });
      // What broke off cannot be looked at: none of it counts.
      if (ending !== 'end') return ending;
      digester.check();
      for await (const bytes of spool.read()) await writer.accept(bytes);
      return ending;
    } finally {
      await spool.close();
    }
  }

  async #each(room: number, take: (bytes: Buffer) => Promise<void>, writer?: UploadWriter): Promise<Ending> {
    for (let came = 0; ;) {
      const piece = await this.#next(writer);
      if (typeof piece === 'string') return piece;
      came += piece.byteLength;
      if (came > room) {
        const message = `the body has more than the ${room} bytes that are taken`;
        throw new LongshoreError('RequestTooLarge', message, {
          op: 'tus',
          hint: 'Send what Upload-Length says.',
        });
      }
      try {
        this.#busy = true;
        await take(piece);
      } catch (error) {
        if (this.#stop.signal.aborted && error === this.#stop.signal.reason) return 'stopped';
        throw error;
      } finally {
        this.#busy = false;
      }
    }
  }

  async #next(writer: UploadWriter | undefined): Promise<Exclude<Piece, 'silent'>> {
    const { idleMs } = this.sending;
    for (;;) {
      const piece = await this.#reader.next(Math.min(TICK_MS, idleMs));
      if (piece !== 'silent') return piece;
      if (performance.now() - this.#reader.lastByteAt >= idleMs) return 'broken';
      if (writer?.isDue === true) await writer.keep();
    }
  }
}
