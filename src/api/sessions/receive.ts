/** One chunk on its way: claimed, into S3 as it comes, written down, acknowledged. */
import type { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { claimPart, whyUnsettled, type PartWriter } from '../../infra/catalog/session-parts.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import type { CustomerKey } from '../../infra/keys/customer-key.js';
import { crcToBase64, isOnce } from '../../infra/s3/once.js';
import type { Body, ObjectStore } from '../../infra/s3/store.js';
import type { Logger } from '../../infra/telemetry/log.js';
import { BodyDigest } from './checks.js';
import { type Lanes, superseded } from './lanes.js';
import { gather, Watch, type Lines, type Way } from './line.js';
import type { BodyChecks, ChunkReceipt, ChunkRequest } from './service.js';
import type { Signs } from './signs.js';

export interface ReceiveDeps {
  db: Pool;
  log: Logger;
  store: ObjectStore;
  lanes: Lanes;
  lines: Lines;
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
    const send = (body: Body, crc32: string | undefined, end: AbortSignal): Promise<{ etag: string }> =>
      sendPart(deps, row, { partNumber, body, ...(crc32 === undefined ? {} : { crc32 }) }, end);
    const { etag, crc32: crc } = await carried(chunk, deps.idleMs, stop, send, wayOf(deps, row));
    const part = { ...ref, claim, etag, crc32: Buffer.from(crc, 'base64'), size: length };
    if (!(await writer.settle(part))) throw (await whyUnsettled(db, ref)) ?? superseded(partNumber);
    return { partNumber, size: length, etag, crc32: crc };
  });
}

/** For a body of the session. What takes longer than its life keeps it alive. */
export function wayOf(
  { lines, log, signs }: Pick<ReceiveDeps, 'lines' | 'log' | 'signs'>,
  row: SessionRow,
): Way {
  const { id, apiKey, ttlMs } = row;
  const failed = (reason: unknown): void =>
    log.warn({ err: reason, session: id }, 'a session was not touched while a body came');
  return { lines, apiKey, ttlMs, alive: () => void signs.touch(row).catch(failed) };
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
    const sent = row.checksums ? part : withoutChecksum(part);
    const request = { bucket, key, s3UploadId, ...sent, ...(await customerKey(row, 'UploadPart')) };
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

/** The upload began without checksums, and a server may refuse parts that bring one. */
function withoutChecksum({ partNumber, body }: { partNumber: number; body: Body }): {
  partNumber: number;
  body: Body;
} {
  return { partNumber, body: isOnce(body) ? { ...body, plain: true } : body };
}

/**
 * Has `send` carry the body, and answers its CRC32 with what was answered. `send` gets a Buffer with its CRC32, or a
 * stream whose bytes are looked at on the way: one that is not what it was said to be breaks the request off. `way`: `send`
 * occupies a way to S3. Throws ChunkDamaged.
 */
export async function carried<A>(
  { body, length, checks = {} }: { body: Readable | Buffer; length: number; checks?: BodyChecks | undefined },
  idleMs: number,
  signal: AbortSignal,
  send: (body: Body, crc32: string | undefined, signal: AbortSignal) => Promise<A>,
  way?: Way,
): Promise<A & { crc32: string }> {
  const digest = new BodyDigest(checks);
  const watch = new Watch(body, idleMs, way);
  let giveBack: (() => void) | undefined;
  const both = AbortSignal.any([signal, watch.broken]);
  const whole = async (bytes: Buffer): Promise<A & { crc32: string }> => {
    const own = crcToBase64(crc32(bytes));
    digest.update(bytes);
    digest.verify(own);
    return { ...(await send(bytes, own, both)), crc32: own };
  };
  const passedOn = async (once: Readable, begun?: () => void): Promise<A & { crc32: string }> => {
    let came = '';
    const see = (piece: Buffer): void => {
      begun?.();
      watch.came(piece.length);
      digest.update(piece);
    };
    const settle = (crc: string): void => {
      digest.verify(crc);
      came = crc;
    };
    const promised = checks.crc32 === undefined ? {} : { promised: checks.crc32 };
    const answer = await send({ length, once, watch: see, settle, ...promised }, undefined, both);
    return { ...answer, crc32: came };
  };
  try {
    if (Buffer.isBuffer(body)) return await whole(body);
    if (way === undefined) return await passedOn(body);
    giveBack = way.lines.takeStretch(way.apiKey);
    const small = giveBack === undefined ? undefined : await gather(body, length, watch, both);
    if (small !== undefined) return await whole(small);
    return await way.lines.gateOf(way.apiKey).run(both, async () => {
      watch.occupies = true;
      // The first stretch is in memory until S3 takes it.
      return await passedOn(body, giveBack);
    });
  } finally {
    giveBack?.();
    watch.end();
  }
}
