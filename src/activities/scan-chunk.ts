/** What a scan has found and not written yet: rows, batches and sums, up to the chunk that takes them to the catalog. */
import { LARGE_FILE, JOB_BATCH_BYTES, JOB_BATCH_FILES, JOB_FIRST_BATCH_FILES } from '../core/limits.js';
import type {
  Batch,
  OpenBatch,
  ScanChunk,
  ScanFound,
  ScannedFile,
  ScanProgress,
} from '../infra/catalog/scans.js';
import type { TreeEntry } from '../infra/sources/tree.js';
import { mtimeText, type ManifestRow } from './manifest.js';
import type { Refusal } from './scan-rules.js';

/** Rows of one transaction. */
const CHUNK_ROWS = 4_000;

export class ChunkBuilder {
  private rows: ScannedFile[] = [];
  private gonePaths: string[] = [];
  private backPaths: string[] = [];
  private closed: Batch[] = [];
  private open: OpenBatch | null;
  private follows: string | null;
  private readonly sums: ScanFound;
  /** Batches that may be given out once this chunk is written. */
  batches: number;

  constructor(progress: ScanProgress) {
    this.follows = progress.cursor;
    this.open = progress.openBatch;
    this.batches = progress.batches;
    this.sums = { ...progress.found };
  }

  get found(): Readonly<ScanFound> {
    return this.sums;
  }

  get full(): boolean {
    return this.rows.length + this.gonePaths.length + this.backPaths.length >= CHUNK_ROWS;
  }

  /** A file or a marker that is to be sent. */
  send(entry: TreeEntry): void {
    const size = entry.size ?? 0;
    const large = size > LARGE_FILE;
    const batch = large ? null : this.place(size);
    const marker = entry.kind === 'empty';
    this.rows.push({
      path: entry.path,
      state: 'PENDING',
      size,
      mtimeNs: mtimeText(entry.mtimeNs),
      batch,
      large,
      marker,
    });
    this.sums.pendingFiles++;
    this.sums.pendingBytes += size;
    if (large) this.sums.largeFiles++;
  }

  refuse(entry: TreeEntry, { state, code, reason }: Refusal): void {
    const { path, size } = entry;
    const mtimeNs = mtimeText(entry.mtimeNs);
    const bare = { batch: null, large: false, marker: false };
    this.rows.push({ path, state, size, mtimeNs, ...bare, failureCode: code, failureReason: reason });
    this.count(state, size);
  }

  /** The row stays as it is. */
  keep(row: ManifestRow): void {
    if (!row.gone) this.count(row.state, row.size);
  }

  /** A row that was gone, and is not or may not be. */
  back(row: ManifestRow): void {
    this.backPaths.push(row.path);
    this.count(row.state, row.size);
  }

  gone(row: ManifestRow): void {
    if (row.gone) return;
    this.gonePaths.push(row.path);
    this.sums.goneFiles++;
  }

  /** Everything up to `cursor` is in it. `last`: nothing more may go into the open batch. */
  take(cursor: string | null, { last, done }: { last: boolean; done: boolean }): ScanChunk {
    if (last) this.close();
    const chunk: ScanChunk = {
      follows: this.follows,
      cursor,
      done,
      rows: this.rows,
      gone: this.gonePaths,
      back: this.backPaths,
      batches: this.closed,
      // It grows while the chunk is being written.
      openBatch: this.open === null ? null : { ...this.open },
      found: { ...this.sums },
    };
    this.follows = cursor;
    this.rows = [];
    this.gonePaths = [];
    this.backPaths = [];
    this.closed = [];
    return chunk;
  }

  private count(state: ManifestRow['state'], size: number | null): void {
    const bytes = size ?? 0;
    if (state === 'UPLOADED') {
      this.sums.unchangedFiles++;
      this.sums.unchangedBytes += bytes;
    } else if (state === 'FAILED') {
      this.sums.failedFiles++;
      this.sums.failedBytes += bytes;
    } else if (state === 'SKIPPED') this.sums.skippedFiles++;
  }

  private place(size: number): number {
    if (this.open !== null && this.open.bytes + size > JOB_BATCH_BYTES) this.close();
    this.open ??= { batch: this.batches + 1, files: 0, bytes: 0 };
    const { batch } = this.open;
    this.open.files++;
    this.open.bytes += size;
    const limit = Math.min(JOB_BATCH_FILES, JOB_FIRST_BATCH_FILES * 2 ** (batch - 1));
    if (this.open.files >= limit) this.close();
    return batch;
  }

  private close(): void {
    if (this.open === null) return;
    this.closed.push(this.open);
    this.batches = this.open.batch;
    this.open = null;
  }
}
