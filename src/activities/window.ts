/**
 * Moves the parts of one window. A part that S3 has already, with what we know we sent, is not sent again: the
 * ledger of an earlier attempt says what we sent, ListParts what is there, and where only ListParts knows of a part
 * its checksum is compared with that of our own bytes.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { Ledger, crcFromBase64, crcToBase64 } from './ledger.js';
import { MAX_BUFFERED_PART } from '../core/limits.js';
import { partRange, type PartPlan, type PartRange } from '../core/part-plan.js';
import type { WindowProgress } from '../core/uploads.js';
import type { PartsPlan, TransferHeartbeat, WindowInput, WindowResult } from '../core/upload-steps.js';
import type { BufferPool } from '../infra/buffers.js';
import type { CustomerKey } from '../infra/keys/index.js';
import type { Lease, Limits } from '../infra/limits.js';
import type { Body, ListedPart, ObjectStore, PartAnswer, UploadRef } from '../infra/s3/store.js';
import type { OpenSource } from '../infra/sources/source.js';
import type { Attempt } from './attempt.js';

/** A ledger larger than this many parts is left out of heartbeats; ListParts and checksums do without it. */
const HEARTBEAT_LEDGER_PARTS = 512;

export interface WindowDeps {
  store: ObjectStore;
  buffers: BufferPool;
  /** Of the jobs that uploads belong to. */
  limits?: Limits;
  /** What the object that is the source is encrypted with. */
  sourceKey?: CustomerKey;
}

/** What a window has done so far; heartbeats and results are taken from it. */
export class Tally implements WindowProgress {
  partsDone = 0;
  bytesDone = 0;
  bytesSent: number;
  readonly ledger = new Ledger();

  constructor(
    private readonly first: number,
    private readonly plan: PartPlan,
    earlier: readonly (WindowProgress | undefined)[],
  ) {
    this.bytesSent = Math.max(0, ...earlier.map((one) => one?.bytesSent ?? 0));
  }

  done(part: number, length: number, etag: string, crc: number | undefined): void {
    this.ledger.set(part, { etag, crc });
    this.partsDone += 1;
    this.bytesDone += length;
  }

  heartbeat(): TransferHeartbeat {
    const { first, partsDone, bytesDone, bytesSent } = this;
    const { size: bytesTotal, count: partsTotal } = this.plan;
    const figures = { first, partsDone, bytesDone, bytesSent, bytesTotal, partsTotal };
    return this.ledger.size > HEARTBEAT_LEDGER_PARTS ? figures : { ...figures, ledger: this.ledger.encode() };
  }

  result(finished: boolean): WindowResult {
    const { partsDone, bytesDone, bytesSent } = this;
    return { partsDone, bytesDone, bytesSent, ledger: this.ledger.encode(), finished };
  }
}

export class WindowSender {
  readonly plan: PartsPlan;
  private readonly ref: UploadRef;
  private readonly checksum: boolean;
  private listed = new Map<number, ListedPart>();

  constructor(
    private readonly deps: WindowDeps,
    private readonly input: WindowInput,
    readonly tally: Tally,
    private readonly sent: Ledger,
    private readonly attempt: Attempt,
    private readonly lease?: Lease,
  ) {
    const { upload, created, inspection } = input;
    this.plan = inspection.plan as PartsPlan;
    this.ref = { ...upload.destination, s3UploadId: created.s3UploadId };
    this.checksum = inspection.options.checksum;
  }

  get sourceKey(): CustomerKey | undefined {
    return this.deps.sourceKey;
  }

  /** Learns what S3 has. */
  async resume(): Promise<void> {
    const { first, last } = this.input.window;
    const request = { ...this.ref, after: first - 1, max: last - first + 1 };
    const parts = await this.deps.store.listParts(request, this.attempt.signal);
    this.listed = new Map(
      parts.filter((part) => part.partNumber <= last).map((part) => [part.partNumber, part]),
    );
    // A killed attempt's last heartbeat lags behind what it had sent; what is there was sent, at the least.
    const there = [...this.listed.values()].reduce((sum, part) => sum + part.size, 0);
    if (this.plan.mode !== 'copy') this.tally.bytesSent = Math.max(this.tally.bytesSent, there);
  }

  /** Whether the part is there as an earlier attempt sent it, so that its bytes need not even be read. */
  skip(part: number, length: number): boolean {
    const listed = this.listed.get(part);
    const entry = this.sent.get(part);
    const ours = entry !== undefined && listed?.etag === entry.etag && listed.size === length;
    if (ours) this.tally.done(part, length, entry.etag, entry.crc);
    return ours;
  }

  async copyPart(part: number, range: PartRange, signal: AbortSignal): Promise<void> {
    if (this.skip(part, range.length)) return;
    const { source } = this.input.inspection;
    if (source.kind !== 'object') throw new TypeError('only objects can be copied by the server');
    const listed = this.listed.get(part);
    // Nothing but our own conditional copy puts parts into this multipart upload.
    if (listed?.size === range.length) return this.tally.done(part, range.length, listed.etag, crcOf(listed));
    this.attempt.fence();
    const { bucket, key, versionId, etag } = source;
    const from = {
      ...{ bucket, key, ifMatch: etag },
      ...(versionId === undefined ? {} : { versionId }),
      ...(this.sourceKey === undefined ? {} : { customerKey: this.sourceKey }),
    };
    const request = { ...this.ref, partNumber: part, source: from, ...range };
    const answer = await this.deps.store.uploadPartCopy(request, signal);
    this.tally.done(part, range.length, answer.etag, crcOf(answer));
  }

  /** Reads a part of a source that can be read anywhere, and sends it. */
  async movePart(source: OpenSource, part: number, signal: AbortSignal): Promise<void> {
    const { offset, length } = partRange(this.plan.parts, part);
    if (this.skip(part, length)) return;
    if (length > MAX_BUFFERED_PART) return this.streamPart(source, part, { offset, length }, signal);
    const buffer = await this.deps.buffers.acquire(this.bufferSize(length), signal);
    try {
      const bytes = buffer.subarray(0, length);
      await source.read(offset, bytes, signal);
      await this.sendBytes(part, bytes, signal);
    } finally {
      this.deps.buffers.release(buffer);
    }
  }

  /** One size of buffers for an upload; the whole part size only where a part can be that long. */
  bufferSize(length: number): number {
    return Math.max(length, Math.min(this.plan.parts.partSize, this.plan.parts.size ?? Infinity));
  }

  async sendBytes(part: number, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const crc = this.checksum ? crc32(bytes) : undefined;
    const listed = this.listed.get(part);
    if (listed?.size === bytes.length && isSame(listed, bytes, crc)) {
      return this.tally.done(part, bytes.length, listed.etag, crc);
    }
    await this.send(part, bytes, bytes.length, crc, signal);
  }

  /** Parts too large for a Buffer: read once for the checksum, and once more for the body. */
  private async streamPart(
    source: OpenSource,
    part: number,
    range: PartRange,
    signal: AbortSignal,
  ): Promise<void> {
    let crc: number | undefined;
    if (this.checksum) {
      crc = 0;
      for await (const chunk of await source.stream(range.offset, range.length, signal)) {
        crc = crc32(chunk as Buffer, crc);
      }
    }
    const listed = this.listed.get(part);
    if (crc !== undefined && listed?.size === range.length && listed.crc32 === crcToBase64(crc)) {
      return this.tally.done(part, range.length, listed.etag, crc);
    }
    const body = {
      length: range.length,
      open: () => lazily(() => source.stream(range.offset, range.length, signal)),
    };
    await this.send(part, body, range.length, crc, signal);
  }

  private async send(
    part: number,
    body: Body,
    length: number,
    crc: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    // Nothing is known of a job's limits until the first answer.
    await this.lease?.take(0, signal);
    this.attempt.fence();
    this.tally.bytesSent += length;
    const request = {
      ...this.ref,
      partNumber: part,
      body: this.lease?.pace(body, signal) ?? body,
      ...(crc === undefined ? {} : { crc32: crcToBase64(crc) }),
    };
    const answer = await this.deps.store.uploadPart(request, signal);
    this.tally.done(part, length, answer.etag, crc);
  }
}

/** What the server computed while it copied: it has to be named again at Complete. */
function crcOf({ crc32: text }: PartAnswer): number | undefined {
  return text === undefined ? undefined : crcFromBase64(text);
}

function isSame(listed: PartAnswer, bytes: Buffer, crc: number | undefined): boolean {
  if (crc !== undefined && listed.crc32 !== undefined) return listed.crc32 === crcToBase64(crc);
  // ETags are opaque, but where one equals the MD5 of our bytes it cannot be by chance.
  return listed.etag === `"${createHash('md5').update(bytes).digest('hex')}"`;
}

function lazily(open: () => Promise<Readable>): Readable {
  return Readable.from(
    (async function* () {
      yield* await open();
    })(),
    { objectMode: false },
  );
}
