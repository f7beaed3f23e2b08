/** A file of this machine as chunks: read where they lie, pinned by what told its bytes at the first look. */
import { open, type FileHandle } from 'node:fs/promises';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError, type ErrorCode } from '../../core/errors.js';
import { MiB } from '../../core/limits.js';
import type { ChunkBody } from './sessions.js';

/** Chunks up to this size are held in memory while they are sent; larger ones are read twice. */
export const MAX_HELD_CHUNK = 16 * MiB;
const STRETCH = MiB;

export interface Extent {
  offset: number;
  length: number;
}

export class FileChunks {
  private constructor(
    private readonly file: FileHandle,
    private readonly path: string,
    /** Bytes. */
    readonly size: number,
    /** Time of modification, nanoseconds since 1970. */
    readonly modified: string,
  ) {}

  /** Throws SourceNotFound, SourceDenied, SourceInvalid. */
  static async open(path: string): Promise<FileChunks> {
    const file = await open(path, 'r').catch((error: unknown) => {
      throw sourceError(path, error);
    });
    try {
      const facts = await file.stat({ bigint: true });
      if (!facts.isFile()) {
        throw new LongshoreError('SourceInvalid', `${path} is no file`, {
          op: 'open',
          key: path,
          hint: '`longshore put -` sends what comes through a pipe, `longshore upload` a folder.',
        });
      }
      return new FileChunks(file, path, Number(facts.size), String(facts.mtimeNs));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Throws SourceChanged. */
  async checkUnchanged(): Promise<void> {
    const { size, mtimeNs } = await this.file.stat({ bigint: true });
    if (Number(size) !== this.size || String(mtimeNs) !== this.modified) throw changed(this.path);
  }

  /** `held` may be filled with it, and must not be used for another while it is sent. Throws SourceChanged. */
  async body(extent: Extent, held: Buffer | undefined): Promise<ChunkBody> {
    const { offset, length } = extent;
    if (held !== undefined && length <= held.length) {
      const bytes = held.subarray(0, length);
      await this.fill(bytes, offset);
      return { make: () => bytes, length, crc32: crc32(bytes) };
    }
    // A stream of a file names the last byte, and here is none.
    if (length === 0) return { make: () => Buffer.alloc(0), length, crc32: 0 };
    const options = { start: offset, end: offset + length - 1, autoClose: false, highWaterMark: STRETCH };
    return { make: () => this.file.createReadStream(options), length, crc32: await this.crc32(extent) };
  }

  async crc32({ offset, length }: Extent): Promise<number> {
    const buffer = Buffer.allocUnsafe(Math.min(STRETCH, length));
    let sum = 0;
    for (let done = 0; done < length; done += buffer.length) {
      const piece = buffer.subarray(0, length - done);
      await this.fill(piece, offset + done);
      sum = crc32(piece, sum);
    }
    return sum;
  }

  private async fill(target: Buffer, offset: number): Promise<void> {
    for (let filled = 0; filled < target.length;) {
      const { bytesRead } = await this.file.read(target, filled, target.length - filled, offset + filled);
      if (bytesRead === 0) throw changed(this.path);
      filled += bytesRead;
    }
  }
}

export function changed(path: string, hint?: string): LongshoreError {
  const context = { op: 'read', key: path, ...(hint === undefined ? {} : { hint }) };
  return new LongshoreError('SourceChanged', `${path} changed since it was first looked at`, context);
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'SourceNotFound',
  ENOTDIR: 'SourceNotFound',
  EACCES: 'SourceDenied',
  EPERM: 'SourceDenied',
};

function sourceError(path: string, error: unknown): LongshoreError {
  const { code = 'unknown' } = error as NodeJS.ErrnoException;
  return new LongshoreError(CODES[code] ?? 'SourceInvalid', `${path} cannot be opened (${code})`, {
    op: 'open',
    key: path,
    cause: error,
    hint: 'Check the path, and that the user who runs this command may read it.',
  });
}
