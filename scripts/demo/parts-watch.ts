/** Looks at what S3 itself holds of an upload: the server is asked, not those who send. */
import { setTimeout as delay } from 'node:timers/promises';
import { LongshoreError } from '../../src/core/errors.js';
import type { Destination } from '../../src/core/uploads.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';

export interface Look {
  parts: number;
  bytes: number;
  /** The multipart upload was there, and has ended. */
  gone: boolean;
}

const POLL_MS = 40;

export class PartsWatch {
  private s3UploadId: string | undefined;

  constructor(
    private readonly store: ObjectStore,
    private readonly at: Destination,
  ) {}

  async look(signal: AbortSignal): Promise<Look> {
    this.s3UploadId ??= await this.find(signal);
    if (this.s3UploadId === undefined) return { parts: 0, bytes: 0, gone: false };
    try {
      const parts = await this.store.listParts({ ...this.at, s3UploadId: this.s3UploadId }, signal);
      return { parts: parts.length, bytes: parts.reduce((sum, { size }) => sum + size, 0), gone: false };
    } catch (error) {
      if (error instanceof LongshoreError && error.code === 'NoSuchUpload')
        return { parts: 0, bytes: 0, gone: true };
      throw error;
    }
  }

  /** Also ends when the multipart upload has: nothing more can be waited for. */
  async until(reached: (look: Look) => boolean, signal: AbortSignal): Promise<Look> {
    for (;;) {
      const look = await this.look(signal);
      if (look.gone || reached(look)) return look;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  private async find(signal: AbortSignal): Promise<string | undefined> {
    const { bucket, key } = this.at;
    const uploads = await this.store.listMultipartUploads({ bucket, prefix: key }, signal);
    return uploads.find((upload) => upload.key === key)?.s3UploadId;
  }
}
