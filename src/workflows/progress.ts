/** How far an upload is, as far as finished activities tell; live figures are in the heartbeats of running ones. */
import type { UploadProgress, WindowProgress } from '../core/uploads.js';
import type { Window, WindowResult } from '../core/upload-steps.js';

export class Progress {
  private readonly finished: WindowProgress = { partsDone: 0, bytesDone: 0, bytesSent: 0 };
  private readonly open = new Map<number, WindowProgress>();
  private bytesTotal: number | null = null;
  private partsTotal: number | null = null;

  expect(bytes: number | null, parts: number | null): void {
    this.bytesTotal = bytes;
    this.partsTotal = parts;
  }

  record(window: Window, result: WindowResult): void {
    const { partsDone, bytesDone, bytesSent } = result;
    if (!result.finished) {
      this.open.set(window.first, { partsDone, bytesDone, bytesSent });
      return;
    }
    this.open.delete(window.first);
    this.add({ partsDone, bytesDone, bytesSent });
    if (result.ended !== undefined) this.expect(result.ended.size, result.ended.parts);
  }

  /** A whole object that went at once, or that others brought. */
  recordWhole(size: number, bytesSent: number, parts = 1): void {
    this.add({ partsDone: parts, bytesDone: size, bytesSent });
  }

  /** The multipart upload is lost: nothing is done, though its bytes were sent. */
  startOver(): void {
    for (const window of this.open.values()) this.finished.bytesSent += window.bytesSent;
    this.open.clear();
    this.finished.partsDone = 0;
    this.finished.bytesDone = 0;
  }

  snapshot(): UploadProgress {
    const { bytesTotal, partsTotal } = this;
    const snapshot: UploadProgress = { ...this.finished, bytesTotal, partsTotal };
    if (this.open.size > 0) snapshot.open = Object.fromEntries(this.open);
    return snapshot;
  }

  private add({ partsDone, bytesDone, bytesSent }: WindowProgress): void {
    this.finished.partsDone += partsDone;
    this.finished.bytesDone += bytesDone;
    this.finished.bytesSent += bytesSent;
  }
}
