/** `scanFolder`: what of a folder is to be sent, slice by slice into the catalog. */
import { LongshoreError } from '../core/errors.js';
import type { JobDefinition } from '../core/jobs.js';
import type { ScanAnswer, ScanInput } from '../core/job-steps.js';
import { getJobByNumber } from '../infra/catalog/jobs.js';
import { scanProgress, writeScan } from '../infra/catalog/scans.js';
import type { Tree, TreeEntry } from '../infra/sources/tree.js';
import { attempting, type Attempt } from './attempt.js';
import { compareFolder, type Comparison } from './compare.js';
import { differsInContent } from './content.js';
import { isQuiet, Manifest, sameFile, type ManifestRow } from './manifest.js';
import { ChunkBuilder } from './scan-chunk.js';
import {
  alreadyRefused,
  openJobTree,
  refusalOf,
  refusalOfKey,
  type Refusal,
  type ScanDeps,
} from './scan-rules.js';

export { createCheckFolder } from './check.js';
export type { ScanDeps } from './scan-rules.js';

/** A slice ends after this long once it has written something. */
const SLICE_MS = 20_000;
/** A killed attempt costs the next one at most this much looking. */
const PERSIST_MS = 10_000;

/** One slice of the tree. Throws RootUnavailable, SourceNotFound, SourceDenied, AttemptFenced. */
export function createScanFolder(deps: ScanDeps): (input: ScanInput) => Promise<ScanAnswer> {
  return (input) => attempting((attempt) => new Slice(deps, input, attempt).run());
}

class Slice implements Comparison {
  private readonly startedAt = performance.now();
  private readonly now = Date.now();
  private definition!: JobDefinition;
  private chunk!: ChunkBuilder;
  private tree!: Tree;
  private cursor: string | null = null;
  /** The cursor of the last chunk. */
  private taken: string | null = null;
  private writing: Promise<void> = Promise.resolve();
  private writtenAt = this.startedAt;
  private pendingBefore = 0;

  constructor(
    private readonly deps: ScanDeps,
    private readonly input: ScanInput,
    private readonly attempt: Attempt,
  ) {}

  async run(): Promise<ScanAnswer> {
    const { db, roots } = this.deps;
    const { job } = this.input;
    const progress = await scanProgress(db, this.input);
    this.chunk = new ChunkBuilder(progress);
    if (progress.done) return this.answer(true);
    const row = await getJobByNumber(db, job);
    if (row === undefined)
      throw new LongshoreError('NotFound', `there is no job number ${job}`, { op: 'scan' });
    this.definition = row.definition;
    this.cursor = this.taken = progress.cursor;
    this.pendingBefore = progress.found.pendingFiles;
    const after = progress.cursor;
    const manifest = new Manifest(db, job, after);
    this.tree = await openJobTree(roots, this.definition, { after, now: this.now }, manifest);
    try {
      const done = await compareFolder({ tree: this.tree, manifest, after }, this, this.attempt.stopSignal);
      if (done || this.cursor !== this.taken) await this.write({ last: true, done });
      await this.writing;
      return this.answer(done);
    } finally {
      this.tree.close();
      // What ended the walk is told; a write must not go on beside the next attempt.
      await Promise.allSettled([this.writing]);
    }
  }

  met(entry: TreeEntry, row: ManifestRow | undefined): void | Promise<void> {
    if (entry.kind === 'unfit') return this.leave(row);
    if (entry.kind !== 'file' && entry.kind !== 'empty') return this.refuse(entry, row, refusalOf(entry));
    if (row?.state === 'UPLOADED' && sameFile(row, entry)) return this.meetAgain(entry, row);
    this.sendOrRefuse(entry, row);
  }

  missed(row: ManifestRow): void {
    this.chunk.gone(row);
  }

  hidden(row: ManifestRow): void {
    this.stay(row);
  }

  told(path: string): boolean | Promise<boolean> {
    this.cursor = path;
    const { chunk } = this;
    const found = chunk.found.pendingFiles - this.pendingBefore;
    if (found >= this.input.budget) return false;
    if (chunk.full || performance.now() - this.writtenAt > PERSIST_MS) return this.writeAndGoOn();
    return true;
  }

  private meetAgain(entry: TreeEntry, row: ManifestRow): void | Promise<void> {
    const { compare, deletions } = this.definition;
    if (row.gone && deletions !== undefined) return this.sendOrRefuse(entry, row);
    if (compare === 'mtime' || entry.kind === 'empty') return this.stay(row);
    return differsInContent(this.tree, entry, row.checksum, this.attempt.signal).then((differs) =>
      differs ? this.sendOrRefuse(entry, row) : this.stay(row),
    );
  }

  /** It is there, or may be: a run before may have marked it as gone, and nobody may delete its object for that. */
  private stay(row: ManifestRow): void {
    if (row.gone) this.chunk.back(row);
    else this.chunk.keep(row);
  }

  private sendOrRefuse(entry: TreeEntry, row: ManifestRow | undefined): void {
    if (!isQuiet(entry, this.input.quiet, this.now)) return this.leave(row);
    const refusal = refusalOfKey(this.definition, entry);
    if (refusal === undefined) this.chunk.send(entry);
    else this.refuse(entry, row, refusal);
  }

  private refuse(entry: TreeEntry, row: ManifestRow | undefined, refusal: Refusal): void {
    if (row !== undefined && alreadyRefused(row, entry, refusal)) this.chunk.keep(row);
    else this.chunk.refuse(entry, refusal);
  }

  private leave(row: ManifestRow | undefined): void {
    if (row !== undefined) this.stay(row);
  }

  private async writeAndGoOn(): Promise<boolean> {
    await this.write({ last: false, done: false });
    return performance.now() - this.startedAt < SLICE_MS;
  }

  /** One chunk is written while the next one is found. */
  private async write(end: { last: boolean; done: boolean }): Promise<void> {
    await this.writing;
    this.attempt.fence();
    this.writing = writeScan(this.deps.db, this.input, this.chunk.take(this.cursor, end));
    // Its failure is met by the next write, or at the end.
    this.writing.catch(() => undefined);
    this.taken = this.cursor;
    this.writtenAt = performance.now();
  }

  private answer(done: boolean): ScanAnswer {
    const { found, batches } = this.chunk;
    return { done, batches, large: found.largeFiles, gone: found.goneFiles, pending: found.pendingFiles };
  }
}
