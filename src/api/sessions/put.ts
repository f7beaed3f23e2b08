/** A whole object in one PutObject, for sessions that take no chunks. */
import { createHash } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import { uploadWorkflowId } from '../../core/ids.js';
import type { CompleteAsk } from '../../core/sessions.js';
import { isTerminal } from '../../core/states.js';
import type { UploadResult } from '../../core/uploads.js';
import { claimPart } from '../../infra/catalog/session-parts.js';
import { getSession, type SessionRow } from '../../infra/catalog/sessions.js';
import { Intake, isOnce } from '../../infra/s3/once.js';
import { tokenMetadata, type Body } from '../../infra/s3/store.js';
import { given } from '../definition.js';
import { Landing } from './landing.js';
import { superseded } from './lanes.js';
import { carried, wayOf, type ReceiveDeps } from './receive.js';
import { endedError, resultOf } from './rules.js';
import type { WholeRequest } from './service.js';

interface Put {
  size: number;
  crc32: string;
  /** False: it was kept back, for the session was closed over another request's object. */
  arrived: boolean;
}

/**
 * Throws WrongChunkSize when it is not as long as was announced, NotRunning and SessionExpired when the session ended
 * before the object was there, ChunkSuperseded when a newer request brings it.
 */
export async function putWhole(
  deps: ReceiveDeps,
  row: SessionRow,
  whole: WholeRequest,
  signal: AbortSignal,
): Promise<Put> {
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
    const landing = new Landing(db, { ...ref, claim }, size);
    const send = async (bytes: Body, crc: string | undefined, end: AbortSignal) => {
      const body = await landing.guard(bytes, crc);
      return await store.putObject({ bucket, key, body, ...given({ crc32: crc }), ...attributes }, end);
    };
    try {
      const end = AbortSignal.any([stop, landing.late]);
      const { crc32, etag } = await carried(whole, idleMs, end, send, wayOf(deps, row));
      const part = { ...ref, claim, etag, crc32: Buffer.from(crc32, 'base64'), size };
      if (!(await writer.settle(part))) await mustCount(db, id, 'it may be at');
      return { size, crc32, arrived: true };
    } catch (error) {
      const { withheld: crc32 } = landing;
      if (crc32 === undefined) throw error;
      await mustCount(db, id, 'it is not at');
      return { size, crc32, arrived: false };
    } finally {
      landing.end();
    }
  });
}

/** The session closed meanwhile. Its workflow may have found an object by itself; otherwise this one counts for nothing. */
async function mustCount(db: ReceiveDeps['db'], id: string, where: string): Promise<void> {
  const now = await getSession(db, id);
  if (now === undefined) {
    throw new LongshoreError('NotFound', `there is no session ${id}`, { op: 'receive', key: id });
  }
  if (now.state === 'COMPLETED' || (!isTerminal(now.state) && !now.open)) return;
  if (now.open) throw superseded(1);
  const { code, message } = endedError(now);
  const left = `${message} while the object was on its way; ${where} s3://${now.bucket}/${now.key}`;
  throw new LongshoreError(code, left, { op: 'receive', key: id });
}

const DIFFERS: ReadonlySet<string> = new Set(['VerificationFailed', 'SizeMismatch']);

/** What `complete` answers to whoever brought the object. Throws Conflict when it is complete with another's bytes. */
export async function completeWith(
  { size, crc32, arrived }: Put,
  id: string,
  complete: (ask: CompleteAsk) => Promise<UploadResult>,
): Promise<UploadResult> {
  const checksum = `crc32:${crc32}`;
  const result = await complete({ size, checksum }).catch((error: unknown) => {
    if (error instanceof LongshoreError && DIFFERS.has(error.code)) throw otherBytes(id, error);
    throw error;
  });
  if (arrived || result.checksum === checksum) return result;
  throw otherBytes(id);
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
  throw otherBytes(row.id);
}

function otherBytes(id: string, cause?: unknown): LongshoreError {
  const message = `an object of the session ${id} is there, and nothing says that it is with these bytes`;
  return new LongshoreError('Conflict', message, { op: 'receive', key: id, cause });
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
