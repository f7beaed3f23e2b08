/**
 * Turns a stream of bytes into parts of equal size. A whole part goes to S3 from memory; bytes that are no whole part yet
 * are kept in the catalog when the stream ends or breaks, or when they come slowly, so that no client occupies the memory
 * of a part for longer than a few seconds. What `offset` counted survives this process once `settle` has answered.
 */
import { KiB } from '../../core/limits.js';
import type { BufferPool } from '../../infra/buffers.js';
import type { Pool } from '../../infra/catalog/pool.js';
import { appendTail, cutTail, mustWrite, readTail, type Extent } from '../../infra/catalog/session-tails.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { Caller, SessionService } from '../sessions/service.js';

export interface WriterDeps {
  db: Pool;
  sessions: Pick<SessionService, 'receive' | 'touch'>;
  /** Memory of whole parts, shared by all uploads of this process. */
  buffers: BufferPool;
  caller: Caller;
  row: SessionRow;
  /** The number of this writer: once there is a newer one nothing more is written. */
  writer: number;
  /** Ends waiting for memory, not what is on its way to S3. */
  stop: AbortSignal;
}

/** Bytes stay in memory no longer, ms. */
export const HELD_MS = 5_000;
/** Of a client that is slow so much is gathered before it is kept. */
const SLOW_PIECE = 256 * KiB;
/** One part may take so long on its way to S3, repetitions included. */
const PART_MS = 10 * 60_000;

export class UploadWriter {
  /** The part that is being gathered, from 0. */
  #part: number;
  /** Bytes of all parts before it, the one on its way included. */
  #before: number;
  /** Bytes of it that the catalog keeps. */
  #tail: number;
  /** Bytes of it in memory; they follow the tail. */
  #held = 0;
  #heldSince = 0;
  #memory: { buffer: Buffer; pooled: boolean } | undefined;
  /** Its client needs longer than HELD_MS for a part: it gathers in small memory. */
  #slow = false;
  #partSince = performance.now();
  /** The part before it, on its way; answers why it failed. */
  #onItsWay: Promise<{ failure?: unknown }> | undefined;

  constructor(
    private readonly deps: WriterDeps,
    extent: Extent,
  ) {
    this.#part = extent.parts;
    this.#before = extent.partBytes;
    this.#tail = extent.tailBytes;
  }

  get offset(): number {
    return this.#before + this.#tail + this.#held;
  }

  /** Bytes in memory wait to be kept. */
  get isDue(): boolean {
    return this.#held > 0 && performance.now() - this.#heldSince > HELD_MS;
  }

  async accept(bytes: Buffer): Promise<void> {
    let rest = bytes;
    while (rest.byteLength > 0) {
      if (this.#tail + this.#held === this.#partSize) await this.#send();
      rest = rest.subarray(await this.#hold(rest));
      if (this.#tail + this.#held === this.#partSize) await this.#send();
      else if (this.isDue) await this.keep();
    }
  }

  /** Everything counted is durable when it answers. With `last` what is left is a part, be it ever so small. */
  async settle(last: boolean): Promise<void> {
    await this.#arrived();
    if (!last) return await this.keep();
    if (this.#tail + this.#held > 0 || this.offset === 0) await this.#send();
    await this.#arrived();
  }

  /** Keeps in the catalog what is in memory. */
  async keep(): Promise<void> {
    await this.#arrived();
    if (this.#memory === undefined || this.#held === 0) return;
    const { row, writer, db, sessions } = this.deps;
    const start = this.#before + this.#tail;
    await appendTail(db, { session: row.id, generation: row.generation, writer, start }, this.#heldBytes());
    this.#tail += this.#held;
    this.#slow = true;
    this.forget();
    await sessions.touch(row);
  }

  /** Gives the memory back, and what is in it. To be called at every end; a part on its way goes on by itself. */
  forget(): void {
    this.#held = 0;
    if (this.#memory?.pooled === true) this.deps.buffers.release(this.#memory.buffer);
    this.#memory = undefined;
  }

  get #partSize(): number {
    return this.deps.row.chunkSize;
  }

  /** Memory of a whole part has room for the tail before the held bytes. */
  #heldBytes(): Buffer {
    const { buffer, pooled } = this.#memory as { buffer: Buffer; pooled: boolean };
    const start = pooled ? this.#tail : 0;
    return buffer.subarray(start, start + this.#held);
  }

  /** Answers how many of the bytes it took. */
  async #hold(bytes: Buffer): Promise<number> {
    if (this.#memory === undefined) {
      this.#memory = await this.#allocate();
      this.#heldSince = performance.now();
    }
    const { buffer, pooled } = this.#memory;
    const start = (pooled ? this.#tail : 0) + this.#held;
    const room = Math.min(buffer.byteLength - start, this.#partSize - this.#tail - this.#held);
    const taken = bytes.copy(buffer, start, 0, Math.min(bytes.byteLength, room));
    this.#held += taken;
    if (taken === room && this.#tail + this.#held < this.#partSize) await this.keep();
    return taken;
  }

  async #allocate(): Promise<{ buffer: Buffer; pooled: boolean }> {
    // Whoever waits for memory holds none but that of a part on its way, which waits for nothing.
    if (this.#slow) return { buffer: Buffer.allocUnsafeSlow(SLOW_PIECE), pooled: false };
    return { buffer: await this.deps.buffers.acquire(this.#partSize, this.deps.stop), pooled: true };
  }

  /** Lets the part go, and goes on with the next while it is on its way. */
  async #send(): Promise<void> {
    await this.#arrived();
    const { db, row, buffers } = this.deps;
    const length = this.#tail + this.#held;
    const whole = await this.#whole();
    const start = this.#before;
    this.#onItsWay = this.#carry(whole.subarray(0, length), this.#part + 1)
      .then(() => cutTail(db, row.id, start + length))
      .then(
        () => ({}),
        (failure: unknown) => ({ failure }),
      )
      .finally(() => buffers.release(whole));
    this.#part += 1;
    this.#before += length;
    this.#tail = 0;
    this.#slow = performance.now() - this.#partSince > HELD_MS;
    this.#partSince = performance.now();
  }

  /** Memory of a part with all its bytes in it; it is the caller's. */
  async #whole(): Promise<Buffer> {
    const { db, row, buffers } = this.deps;
    let whole: Buffer;
    if (this.#memory?.pooled === true) {
      whole = this.#memory.buffer;
      this.#memory = undefined;
    } else {
      whole = await buffers.acquire(this.#partSize, this.deps.stop);
      if (this.#memory !== undefined) this.#heldBytes().copy(whole, this.#tail);
      this.#memory = undefined;
    }
    this.#held = 0;
    try {
      if (this.#tail > 0) await readTail(db, row.id, this.#before, whole.subarray(0, this.#tail));
      return whole;
    } catch (error) {
      buffers.release(whole);
      throw error;
    }
  }

  async #carry(body: Buffer, partNumber: number): Promise<void> {
    const { db, row, writer, caller, sessions } = this.deps;
    await mustWrite(db, { session: row.id, generation: row.generation, writer });
    const chunk = { partNumber, length: body.byteLength, body };
    await sessions.receive(caller, row, chunk, AbortSignal.timeout(PART_MS));
  }

  /** Waits for the part on its way, and throws why it failed. */
  async #arrived(): Promise<void> {
    const outcome = await this.#onItsWay;
    this.#onItsWay = undefined;
    if (outcome !== undefined && 'failure' in outcome) throw outcome.failure;
  }
}
