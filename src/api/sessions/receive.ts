/** One chunk on its way: claimed, into S3 as it comes, written down, acknowledged. */
import type { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { claimPart, type PartWriter } from '../../infra/catalog/session-parts.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { CustomerKey } from '../../infra/keys/customer-key.js';
import { crcToBase64 } from '../../infra/s3/once.js';
import type { Body, ObjectStore } from '../../infra/s3/store.js';
import type { Logger } from '../../infra/telemetry/log.js';
import { BodyDigest } from './checks.js';
import { type Lanes, superseded } from './lanes.js';
import type { BodyChecks, ChunkReceipt, ChunkRequest } from './service.js';
import type { Signs } from './signs.js';

export interface ReceiveDeps {
  db: Pool;
  log: Logger;
  store: ObjectStore;
  lanes: Lanes;
  signs: Signs;
  writer: PartWriter;
  /** A body on which nothing comes for so long has broken off, ms. */
  idleMs: number;
  customerKey: (row: SessionRow, op: string) => Promise<{ customerKey?: CustomerKey }>;
}

/** The session takes the chunk, and its length is right. */
export async function receiveChunk(
  deps: ReceiveDeps,
  row: SessionRow,
  chunk: ChunkRequest,
  signal: AbortSignal,
): Promise<ChunkReceipt> {
  const { db, lanes, signs, writer } = deps;
  const { partNumber, length } = chunk;
  return await lanes.run({ session: row.id, part: partNumber }, signal, async (stop) => {
    const ref = { session: row.id, generation: row.generation, partNumber };
    const claim = await claimPart(db, ref);
    signs.begun(row);
    await signs.touch(row);
    const { etag, crc32: crc } = await carried(chunk, deps.idleMs, stop, (body, crc32, end) =>
      sendPart(deps, row, { partNumber, body, ...(crc32 === undefined ? {} : { crc32 }) }, end),
    );
    const part = { ...ref, claim, etag, crc32: Buffer.from(crc, 'base64'), size: length };
    if (!(await writer.settle(part))) throw superseded(partNumber);
    return { partNumber, size: length, etag, crc32: crc };
  });
}

async function sendPart(
  { store, signs, log, customerKey }: ReceiveDeps,
  row: SessionRow,
  part: { partNumber: number; body: Body; crc32?: string },
  signal: AbortSignal,
): Promise<{ etag: string }> {
  const { bucket, key, s3UploadId } = row;
  if (s3UploadId === null) throw new Error(`the session ${row.id} takes chunks and has no multipart upload`);
  try {
    const request = { bucket, key, s3UploadId, ...part, ...(await customerKey(row, 'UploadPart')) };
    return await store.uploadPart(request, signal);
  } catch (error) {
    if (error instanceof LongshoreError && error.code === 'NoSuchUpload') {
      await signs
        .lost(row)
        .catch((reason: unknown) =>
          log.warn({ err: reason, session: row.id }, 'a workflow was not told of its loss'),
        );
    }
    throw error;
  }
}

/**
 * Has `send` carry the body, and answers its CRC32 with what was answered. `send` gets a Buffer with its CRC32, or a
 * stream whose bytes are looked at on the way: one that is not what it was said to be breaks the request off. Throws
 * ChunkDamaged.
 */
export async function carried<A>(
  { body, length, checks = {} }: { body: Readable | Buffer; length: number; checks?: BodyChecks | undefined },
  idleMs: number,
  signal: AbortSignal,
  send: (body: Body, crc32: string | undefined, signal: AbortSignal) => Promise<A>,
): Promise<A & { crc32: string }> {
  const digest = new BodyDigest(checks);
  if (Buffer.isBuffer(body)) {
    const own = crcToBase64(crc32(body));
    digest.update(body);
    digest.verify(own);
    return { ...(await send(body, own, signal)), crc32: own };
  }
  let came = '';
  let lastAt = performance.now();
  const silence = new AbortController();
  const once = {
    length,
    once: body,
    watch: (piece: Buffer) => {
      lastAt = performance.now();
      digest.update(piece);
    },
    settle: (crc: string) => {
      digest.verify(crc);
      came = crc;
    },
  };
  // While S3 is what is waited for the stream is paused, and its silence no fault of the client's.
  const clock = setInterval(() => {
    if (body.readableFlowing !== true) lastAt = performance.now();
    else if (performance.now() - lastAt > idleMs) silence.abort(brokenOff(idleMs));
  }, idleMs / 4);
  try {
    return { ...(await send(once, undefined, AbortSignal.any([signal, silence.signal]))), crc32: came };
  } finally {
    clearInterval(clock);
  }
}

function brokenOff(idleMs: number): LongshoreError {
  const message = `nothing came of the body for ${idleMs / 1000} s`;
  return new LongshoreError('ChunkDamaged', message, { op: 'receive' });
}
