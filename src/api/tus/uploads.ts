/** tus's uploads are sessions: what the library asks of a store, for one request. */
import type { Readable } from 'node:stream';
import { DataStore, Metadata, Upload } from '@tus/server';
import { LongshoreError } from '../../core/errors.js';
import { DEFAULT_PART_SIZE, MAX_BUFFERED_PART, MiB } from '../../core/limits.js';
import { planParts } from '../../core/part-plan.js';
import { chunkCount } from '../../core/sessions.js';
import type { BufferPool } from '../../infra/buffers.js';
import type { Pool } from '../../infra/catalog/pool.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';
import { readExtent } from '../../infra/catalog/session-tails.js';
import {
  addTusUpload,
  declareLength,
  getTusUpload,
  takeWriter,
  type TusUpload,
} from '../../infra/catalog/tus-uploads.js';
import type { Caller, SessionService } from '../sessions/service.js';
import { TusError } from './errors.js';
import { askedBy } from './names.js';
import type { Transfer } from './sending.js';
import { UploadWriter } from './writer.js';

export interface TusDeps {
  db: Pool;
  sessions: SessionService;
  buffers: BufferPool;
  ttlMs: number;
  /** That the S3 server takes of one object. */
  maxParts: number;
}

export interface TusAsk {
  caller: Caller;
  method: string;
  /** `Upload-Metadata` as it came. */
  metadata: string | undefined;
  /** The upload to be made is part of one that is still to come. */
  partial: boolean;
  transfer: Transfer;
}

/** An upload as it stands. */
export interface Standing {
  row: SessionRow;
  upload: TusUpload;
}

/** Largest upload: all parts as large as memory takes them. */
export function maxUpload({ maxParts }: Pick<TusDeps, 'maxParts'>): number {
  return maxParts * MAX_BUFFERED_PART;
}

/** Parts of uploads whose length nobody knows. */
const DEFERRED_PART = 16 * MiB;

export const EXTENSIONS = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'termination',
  'expiration',
  'checksum',
  'concatenation',
];

export class SessionUploads extends DataStore {
  override extensions = EXTENSIONS;
  /** What was read last, for the headers of the answer. */
  seen: Standing | undefined;

  constructor(
    private readonly deps: TusDeps,
    private readonly ask: TusAsk,
  ) {
    super();
  }

  override async create(upload: Upload): Promise<Upload> {
    const { metadata = null, partial } = this.ask;
    const asked = askedBy(this.ask.metadata, upload.id, partial ? 'tus/partial' : 'tus');
    const length = upload.size ?? null;
    await begin(this.deps, this.ask.caller, { id: upload.id, ...asked }, length);
    await addTusUpload(this.deps.db, {
      session: upload.id,
      metadata,
      length,
      concat: partial ? 'partial' : null,
    });
    return upload;
  }

  override async getUpload(id: string): Promise<Upload> {
    const { row, upload } = await this.standing(id);
    if (upload.concat?.startsWith('final') === true && this.ask.method === 'PATCH') {
      throw new TusError(403, 'InvalidInput', 'a final upload takes no bytes', { op: 'tus', key: id });
    }
    let offset = await this.#offset({ row, upload });
    // A client that finds all its bytes here takes the upload for complete.
    if (
      this.ask.method === 'HEAD' &&
      offset === upload.length &&
      upload.concat?.startsWith('final') !== true
    ) {
      offset = await this.#finished(id, offset);
    }
    return new Upload({
      id,
      offset,
      ...(upload.length === null ? {} : { size: upload.length }),
      ...(upload.metadata === null ? {} : { metadata: Metadata.parse(upload.metadata) }),
      creation_date: new Date(Date.parse(row.expiresAt) - this.getExpiration()).toISOString(),
    });
  }

  /** `_empty` is what the library makes of a request without a body; the body goes its own way. */
  override async write(_empty: Readable, id: string, offset: number): Promise<number> {
    _empty.resume();
    const { transfer } = this.ask;
    const number = await takeWriter(this.deps.db, id);
    const { row, upload } = await this.standing(id);
    if (row.state === 'COMPLETED') return offset;
    const writer = await this.#writer(row, number);
    if (writer.offset !== offset) {
      const message = `the upload has ${writer.offset} bytes, and not ${offset} any more`;
      throw new LongshoreError('Conflict', message, { op: 'tus', key: id });
    }
    try {
      await transfer.into(writer, upload.length ?? this.deps.maxParts * row.chunkSize);
      await writer.settle(writer.offset === upload.length);
    } finally {
      writer.forget();
    }
    return writer.offset;
  }

  override async declareUploadLength(id: string, length: number): Promise<void> {
    const { row } = await this.standing(id);
    const most = this.deps.maxParts * row.chunkSize;
    if (length > most) {
      const message = `an upload whose length was not known when it began has at most ${most} bytes`;
      throw new LongshoreError('RequestTooLarge', message, { op: 'tus', key: id });
    }
    if ((await declareLength(this.deps.db, id, length)) === length) return;
    throw new LongshoreError('InvalidInput', 'Upload-Length was another before', { op: 'tus', key: id });
  }

  override async remove(id: string): Promise<void> {
    await this.standing(id);
    await this.deps.sessions.cancel(this.ask.caller, id);
  }

  override getExpiration(): number {
    return this.seen?.row.ttlMs ?? this.deps.ttlMs;
  }

  /** All bytes have come: the object is made of them. Repeating it is harmless. */
  async finish(id: string): Promise<void> {
    const { row, upload } = await this.standing(id);
    if (row.state === 'COMPLETED' || upload.length === null) return;
    const extent = await readExtent(this.deps.db, { session: id, generation: row.generation });
    if (extent.tailBytes > 0 || extent.parts === 0) {
      const writer = await this.#writer(row, await takeWriter(this.deps.db, id));
      await writer.settle(true);
    }
    await this.deps.sessions.complete(this.ask.caller, id, {
      size: upload.length,
      chunks: chunkCount(upload.length, row.chunkSize),
    });
  }

  /** How far it is: where S3 has not all of it, completing took back what was said to be there, so that it is sent again. */
  async #finished(id: string, length: number): Promise<number> {
    try {
      await this.finish(id);
      return length;
    } catch (error) {
      if (!(error instanceof LongshoreError) || error.code !== 'PartsMissing') throw error;
      const offset = await this.#offset(await this.standing(id));
      if (offset < length) return offset;
      throw error;
    }
  }

  async standing(id: string): Promise<Standing> {
    this.seen = await standingOf(this.deps, this.ask.caller, id);
    return this.seen;
  }

  async #offset({ row, upload }: Standing): Promise<number> {
    if (row.state === 'COMPLETED') return row.size ?? upload.length ?? 0;
    const { partBytes, tailBytes } = await readExtent(this.deps.db, {
      session: row.id,
      generation: row.generation,
    });
    return partBytes + tailBytes;
  }

  async #writer(row: SessionRow, writer: number): Promise<UploadWriter> {
    const { caller, transfer } = this.ask;
    const extent = await readExtent(this.deps.db, { session: row.id, generation: row.generation });
    return new UploadWriter({ ...this.deps, caller, row, writer, stop: transfer.stopped }, extent);
  }
}

/** Its client is alive. Throws NotFound, SessionExpired, and NotRunning for one that has ended otherwise. */
export async function standingOf(
  { db, sessions }: Pick<TusDeps, 'db' | 'sessions'>,
  caller: Caller,
  id: string,
): Promise<Standing> {
  const row = await sessions.find(caller, id);
  const upload = await getTusUpload(db, id);
  const because = (code: 'NotFound' | 'SessionExpired', message: string) =>
    new LongshoreError(code, message, { op: 'tus', key: id });
  if (upload === undefined) throw because('NotFound', `there is no tus upload ${id}`);
  if (row.state === 'EXPIRED') throw because('SessionExpired', `the upload ${id} has expired`);
  if (row.state === 'FAILED' || row.state === 'CANCELLED') {
    const why = row.failure === null ? '' : `: ${row.failure.message}`;
    throw new TusError(410, 'NotRunning', `the upload ${id} is ${row.state}${why}`, { op: 'tus', key: id });
  }
  if (row.state !== 'COMPLETED') await sessions.touch(row);
  return { row, upload };
}

/** Begins the session of an upload of `length` bytes; null: not known yet. */
export async function begin(
  { sessions }: Pick<TusDeps, 'sessions'>,
  caller: Caller,
  asked: ReturnType<typeof askedBy> & { id: string },
  length: number | null,
): Promise<SessionRow> {
  const chunkSize = length === null ? DEFERRED_PART : planParts(length, DEFAULT_PART_SIZE).partSize;
  const { row } = await sessions.begin(caller, {
    ...asked,
    chunkSize,
    ...(length === null ? {} : { size: length }),
  });
  return row;
}
