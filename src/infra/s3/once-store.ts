/** What a store does with bodies that come only once: passes them on as they come, or holds them where it cannot. */
import { LongshoreError } from '../../core/errors.js';
import { MAX_BUFFERED_PART } from '../../core/limits.js';
import type { BufferPool } from '../buffers.js';
import { crcToBase64, Intake, isOnce, noting } from './once.js';
import { s3Name } from './s3-errors.js';
import type { CallSite } from './s3-errors.js';
import type { Body, ObjectStore, OnceBody } from './store.js';

/** Bytes that one store holds at once of bodies that it cannot pass on as they come. */
export const ONCE_BUDGET = 2 * MAX_BUFFERED_PART;

/** The store for bodies that come only once, each held until it is whole. */
export function buffering(store: ObjectStore, pool: BufferPool): ObjectStore {
  return {
    ...store,
    putObject: (request, signal) => held(request, pool, signal, (whole) => store.putObject(whole, signal)),
    uploadPart: (request, signal) => held(request, pool, signal, (whole) => store.uploadPart(whole, signal)),
  };
}

/**
 * The store that passes such bodies on, and holds them once the server has shown that it does not know trailers. `trusted`:
 * they may pass unsigned.
 */
export function passingOn(store: ObjectStore, pool: BufferPool, trusted: boolean): ObjectStore {
  const whole = buffering(store, pool);
  const trailers = new Trailers(trusted);
  return {
    ...store,
    async putObject(request, signal) {
      if (!isOnce(request.body) || !trailers.taken) return await whole.putObject(request, signal);
      const { body, sent } = noting(request.body);
      const site: CallSite = { op: 'PutObject', bucket: request.bucket, key: request.key };
      const answer = await trailers.watch(site, () => store.putObject({ ...request, body }, signal));
      const size = async (): Promise<number | undefined> => (await store.headObject(request, signal))?.size;
      await trailers.demand(site, { sent: sent(), answered: answer.crc32, length: body.length }, size);
      return { ...answer, checksumAccepted: answer.crc32 !== undefined };
    },
    async uploadPart(request, signal) {
      if (!isOnce(request.body) || !trailers.taken) return await whole.uploadPart(request, signal);
      const { body, sent } = noting(request.body);
      const site: CallSite = { op: 'UploadPart', bucket: request.bucket, key: request.key };
      const answer = await trailers.watch(site, () => store.uploadPart({ ...request, body }, signal));
      const size = async (): Promise<number | undefined> => {
        const [part] = await store.listParts({ ...request, after: request.partNumber - 1, max: 1 }, signal);
        return part?.partNumber === request.partNumber ? part.size : undefined;
      };
      await trailers.demand(site, { sent: sent(), answered: answer.crc32, length: body.length }, size);
      return answer;
    },
  };
}

/** What is known of a server's way with trailers. */
class Trailers {
  #shown = false;

  constructor(public taken: boolean) {}

  /** A server that refuses the first of them refuses all. */
  async watch<T>(site: CallSite, call: () => Promise<T>): Promise<T> {
    try {
      const answer = await call();
      this.#shown = true;
      return answer;
    } catch (error) {
      const refused = error instanceof LongshoreError && REFUSALS.has(error.code);
      if (this.#shown || !refused) throw error;
      throw this.#giveUp(site, 'the server takes no checksum after a body', error);
    }
  }

  /** A server that names no checksum may have kept the frames with the bytes: the size tells. */
  async demand(
    site: CallSite,
    { sent, answered, length }: { sent: string | undefined; answered: string | undefined; length: number },
    size: () => Promise<number | undefined>,
  ): Promise<void> {
    if (answered !== undefined && answered === sent) return;
    if (answered !== undefined) {
      const message = `${site.op} ${s3Name(site)}: CRC32 ${sent} was sent, the server names ${answered}`;
      throw new LongshoreError('BadDigest', message, { op: site.op, key: s3Name(site) });
    }
    const there = await size();
    if (there !== length) throw this.#giveUp(site, `${length} bytes were sent, the server has ${there}`);
  }

  #giveUp(site: CallSite, why: string, cause?: unknown): LongshoreError {
    this.taken = false;
    return new LongshoreError('S3Unavailable', `${site.op} ${s3Name(site)}: ${why}`, {
      op: site.op,
      key: s3Name(site),
      cause,
      hint: 'Send it again: from now on bodies are held until they are whole.',
    });
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['NotSupported', 'InvalidRequest']);

async function held<T extends { body: Body; crc32?: string }, A>(
  request: T,
  pool: BufferPool,
  signal: AbortSignal,
  send: (whole: T) => Promise<A>,
): Promise<A> {
  if (!isOnce(request.body)) return await send(request);
  const { buffer, crc32 } = await collect(request.body, pool, signal);
  try {
    return await send({ ...request, body: buffer, crc32 });
  } finally {
    pool.release(buffer);
  }
}

/**
 * The body in a buffer of the pool, for servers that take no trailers and lines that somebody may listen to. The caller
 * releases the buffer. Throws NotSupported for what is too large to be held.
 */
async function collect(
  body: OnceBody,
  pool: BufferPool,
  signal: AbortSignal,
): Promise<{ buffer: Buffer; crc32: string }> {
  if (body.length > MAX_BUFFERED_PART) {
    throw new LongshoreError(
      'NotSupported',
      `${body.length} bytes in one body, and the S3 server takes no checksum after it: at most ${MAX_BUFFERED_PART} are held`,
      { op: 'receive', hint: 'Send smaller chunks, or reach the S3 server over TLS.' },
    );
  }
  const buffer = await pool.acquire(body.length, signal);
  try {
    return { buffer, crc32: await fill(body, buffer, signal) };
  } catch (error) {
    pool.release(buffer);
    throw error;
  }
}

function fill(body: OnceBody, buffer: Buffer, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const onAbort = (): void => {
      intake.stop();
      reject(signal.reason as Error);
    };
    const intake = new Intake(
      body,
      (piece) => {
        at += piece.copy(buffer, at);
        return true;
      },
      (error) => {
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve(crcToBase64(intake.crc));
        else reject(error);
      },
    );
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    intake.resume();
  });
}
