/** Sends a session's chunks as the API does: claimed, put into S3, settled. Each step can be left out. */
import { crc32 } from 'node:zlib';
import type { OpenedSession } from '../../src/core/sessions.js';
import type { Destination } from '../../src/core/uploads.js';
import { claimPart, type PartWriter } from '../../src/infra/catalog/session-parts.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';

export interface SenderDeps {
  db: Pool;
  store: ObjectStore;
  writer: PartWriter;
}

export function crcBytes(bytes: Uint8Array): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes));
  return crc;
}

export class SessionSender {
  constructor(
    private readonly deps: SenderDeps,
    readonly id: string,
    private readonly destination: Destination,
    readonly opened: OpenedSession,
  ) {}

  /** False when it was superseded. */
  async send(partNumber: number, bytes: Buffer): Promise<boolean> {
    const part = { session: this.id, generation: this.opened.generation, partNumber };
    const claim = await claimPart(this.deps.db, part);
    const etag = await this.put(partNumber, bytes);
    const settled = { ...part, claim, etag, crc32: crcBytes(bytes), size: bytes.length };
    return await this.deps.writer.settle(settled);
  }

  /** Into S3 alone, as a client with a presigned address does. Answers the ETag. */
  async put(partNumber: number, body: Buffer): Promise<string> {
    const ref = { ...this.destination, s3UploadId: this.opened.s3UploadId ?? '' };
    const request = { ...ref, partNumber, body, crc32: crcBytes(body).toString('base64') };
    const { etag } = await this.deps.store.uploadPart(request, new AbortController().signal);
    return etag;
  }
}
