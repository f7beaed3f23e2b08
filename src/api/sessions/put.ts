/** A whole object in one PutObject, for sessions that take no chunks. */
import { createHash } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import { uploadWorkflowId } from '../../core/ids.js';
import { isTerminal } from '../../core/states.js';
import type { UploadResult } from '../../core/uploads.js';
import { claimPart, type PartRef } from '../../infra/catalog/session-parts.js';
import { getSession, type SessionRow } from '../../infra/catalog/sessions.js';
import { Intake, isOnce } from '../../infra/s3/once.js';
import { tokenMetadata, type Body } from '../../infra/s3/store.js';
import { given } from '../definition.js';
import { superseded } from './lanes.js';
import { carried, wayOf, type ReceiveDeps } from './receive.js';
import { endedError, resultOf } from './rules.js';
import type { WholeRequest } from './service.js';

/**
 * Throws WrongChunkSize when it is not as long as was announced, NotRunning and SessionExpired when the session ended
 * before the object was there, ChunkSuperseded when a newer request brings it.
 */
export async function putWhole(
  deps: ReceiveDeps,
  row: SessionRow,
  whole: WholeRequest,
  signal: AbortSignal,
): Promise<{ size: number; crc32: string }> {
  const { db, store, lanes, signs, writer, idleMs, customerKey } = deps;
  const { bucket, key, id, nonce, contentType, metadata, encryption, expectedSize } = row;
  const { length: size, tags, ifNoneMatch } = whole;
  if (expectedSize !== null && size !== expectedSize) {
    const message = `the object has ${expectedSize} bytes, not ${size}`;
    throw new LongshoreError('WrongChunkSize', message, { op: 'receive', key: id });
  }
  const token = { uploadId: uploadWorkflowId(id), nonce };
  return await lanes.run({ session: id, part: 1 }, signal, async (stop) => {
    const ref = { session: id, generation: row.generation, partNumber: 1 };
    const claim = await claimPart(db, ref);
    signs.begun(row);
    await signs.touch(row);
    const attributes = {
      ...{ contentType, metadata: { ...metadata, ...tokenMetadata(token) } },
      ...given({ encryption: encryption ?? undefined, tags, ifNoneMatch }),
      ...(await customerKey(row, 'PutObject')),
    };
    const send = (body: Body, crc: string | undefined, end: AbortSignal) =>
      store.putObject({ bucket, key, body, ...given({ crc32: crc }), ...attributes }, end);
    const { crc32, etag } = await carried(whole, idleMs, stop, send, wayOf(deps, row));
    const part = { ...ref, claim, etag, crc32: Buffer.from(crc32, 'base64'), size };
    if (!(await writer.settle(part))) await mustHaveCounted(db, ref);
    return { size, crc32 };
  });
}

/** The session closed meanwhile. Its workflow may have found the object by itself; otherwise it counts for nothing. */
async function mustHaveCounted(db: ReceiveDeps['db'], { session: id, generation }: PartRef): Promise<void> {
  const now = await getSession(db, id);
  if (now === undefined) {
    throw new LongshoreError('NotFound', `there is no session ${id}`, { op: 'receive', key: id });
  }
  if (now.state === 'COMPLETED' || (!isTerminal(now.state) && !now.open)) return;
  if (now.open && now.generation === generation) throw superseded(1);
  const { code, message } = endedError(now);
  const left = `${message} while the object was on its way; it may be at s3://${now.bucket}/${now.key}`;
  throw new LongshoreError(code, left, { op: 'receive', key: id });
}

/**
 * A whole object that is there is not written again; other bytes under its id are a conflict. Reads the body to its end.
 * Throws Conflict, ChunkDamaged.
 */
export async function sameAgain(
  { idleMs }: Pick<ReceiveDeps, 'idleMs'>,
  row: SessionRow,
  whole: WholeRequest,
  signal: AbortSignal,
): Promise<UploadResult> {
  const md5 = createHash('md5');
  const read = async (body: Body, _: unknown, end: AbortSignal): Promise<object> => {
    await readThrough(body, (piece) => md5.update(piece), end);
    return {};
  };
  if (whole.length === row.size) {
    const { crc32 } = await carried(whole, idleMs, signal, read);
    // Without a checksum the ETag may tell: of a plain object in one piece it is the MD5.
    const same =
      row.checksum === null ? row.etag === `"${md5.digest('hex')}"` : row.checksum === `crc32:${crc32}`;
    if (same) return resultOf(row);
  }
  const message = `the session ${row.id} is complete, and nothing says that it is with these bytes`;
  throw new LongshoreError('Conflict', message, { op: 'receive', key: row.id });
}

async function readThrough(body: Body, see: (piece: Buffer) => void, signal: AbortSignal): Promise<void> {
  if (Buffer.isBuffer(body)) return see(body);
  if (!isOnce(body)) throw new Error('the body of a request comes once');
  const take = (piece: Buffer): boolean => {
    see(piece);
    return true;
  };
  await new Promise<void>((resolve, reject) => {
    const intake = new Intake(body, take, (error) => {
      signal.removeEventListener('abort', stop);
      if (error === undefined) resolve();
      else reject(error);
    });
    const stop = (): void => {
      intake.stop();
      reject(signal.reason as Error);
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    intake.resume();
  });
}
