/** A file without a name: bytes that must not count until all of them are there. */
import { randomUUID } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MiB } from '../../core/limits.js';
import { LongshoreError } from '../../core/errors.js';

const STRETCH = MiB;

export class Spool {
  size = 0;

  private constructor(private readonly file: FileHandle) {}

  static async open(): Promise<Spool> {
    const path = join(tmpdir(), `longshore-${randomUUID()}`);
    const file = await open(path, 'wx+', 0o600);
    // Gone with this process, however it ends.
    await unlink(path);
    return new Spool(file);
  }

  /** Throws StorageFull where there is no room. */
  async append(bytes: Buffer): Promise<void> {
    try {
      await this.file.appendFile(bytes);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOSPC') throw cause;
      throw new LongshoreError('StorageFull', 'there is no room for the body of a request', {
        op: 'spool',
        hint: 'Make room where the API keeps its temporary files (TMPDIR).',
        cause,
      });
    }
    this.size += bytes.byteLength;
  }

  /** Its bytes from the first on. Each piece holds until the next is asked for. */
  async *read(): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(Math.min(STRETCH, Math.max(1, this.size)));
    for (let at = 0; at < this.size;) {
      const { bytesRead } = await this.file.read(buffer, 0, buffer.byteLength, at);
      if (bytesRead === 0) throw new LongshoreError('Internal', 'the spool ends early', { op: 'spool' });
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
