/** Moves the files of one batch, and decides what each failure means: for the file, for the batch, or for later. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setMaxListeners } from 'node:events';
import { crc32 } from '@node-rs/crc32';
import { ERRORS, LongshoreError, type ErrorCode } from '../core/errors.js';
import type { BatchHeartbeat, BatchResult } from '../core/job-steps.js';
import { KiB, MiB } from '../core/limits.js';
import type { BufferPool } from '../infra/buffers.js';
import type { FileOutcome, PendingFile } from '../infra/catalog/files.js';
import type { Lease } from '../infra/limits.js';
import type { Body, ObjectStore, PutAnswer } from '../infra/s3/store.js';
import type { SmallFiles } from '../infra/sources/small-files.js';
import type { Attempt } from './attempt.js';
import type { FileJob } from './file-job.js';
import { crcToBase64 } from './ledger.js';
import { headIfAllowed } from './objects.js';
import type { OutcomeWriter } from './outcomes.js';

export interface SenderDeps {
  store: ObjectStore;
  buffers: BufferPool;
  files: SmallFiles;
  lease: Lease;
  job: FileJob;
  attempt: Attempt;
  outcomes: (onFailure: (error: unknown) => void) => OutcomeWriter<FileOutcome>;
}

/** Requests of a batch in flight at once. */
const LANES = 16;
/** Buffers come in few sizes, so that they are used again. Larger files are streamed. */
const BUFFER_SIZES = [64 * KiB, 256 * KiB, MiB, 4 * MiB];
const LARGEST_BUFFER = 4 * MiB;
/** How soon a changed limit shows. */
const LOOK_MS = 100;
/** Without one file arriving for this long, the attempt ends and Temporal's retry policy takes over. */
const PATIENCE_MS = 45_000;
/** While others arrive, a file is given up after so many tries. */
const TRIES = 7;
/** Where nothing else is left that could arrive: attempts before one file is taken to be the reason, and its tries in the last. */
const LATE = 3;
const LATE_TRIES = 3;
const RECENT_MS = 5_000;
const BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 8_000;
/** So many denials and no success are no matter of single files. */
const DENIALS = 20;

const PASSING: ReadonlySet<ErrorCode> = new Set([
  'S3Unavailable',
  'SlowDown',
  'BadDigest',
  'SourceUnavailable',
  'UploadConflict',
]);
/** Passing, but a matter of one file. */
const OWN: ReadonlySet<ErrorCode> = new Set(['SourceUnavailable', 'UploadConflict']);
/** Final, but not the fault of a file. */
const WHOLE: ReadonlySet<ErrorCode> = new Set([
  'NoSuchBucket',
  'BadCredentials',
  'Cancelled',
  'NotFound',
  'SchemaTooNew',
]);

type Verdict = 'file' | 'changed' | 'later' | 'batch';

function verdictOf(error: unknown): Verdict {
  if (!(error instanceof LongshoreError)) return 'batch';
  if (error.code === 'SourceChanged') return 'changed';
  if (PASSING.has(error.code)) return 'later';
  return ERRORS[error.code].retry === 'never' && !WHOLE.has(error.code) ? 'file' : 'batch';
}

export class FileSender {
  private readonly figures = { uploaded: 0, failed: 0, bytes: 0, left: 0 };
  private readonly failing = new AbortController();
  private readonly signal: AbortSignal;
  /** Nothing new begins once this is aborted. */
  private readonly stop: AbortSignal;
  private readonly outcomes: OutcomeWriter<FileOutcome>;
  private readonly begun = performance.now();
  /** So few are left that none can hide behind others that are never tried. */
  private few = false;
  private denied = 0;

  constructor(private readonly deps: SenderDeps) {
    const { attempt } = deps;
    this.signal = AbortSignal.any([attempt.signal, this.failing.signal]);
    this.stop = AbortSignal.any([attempt.stopSignal, this.failing.signal]);
    // Each lane listens, and there are more than the ten from which Node suspects a leak.
    setMaxListeners(0, this.signal, this.stop);
    this.outcomes = deps.outcomes((error) => this.failing.abort(error));
  }

  heartbeat(batch: number): BatchHeartbeat {
    return { batch, files: this.figures.uploaded, bytes: this.figures.bytes };
  }

  /** Sends all files, or what it gets to before it is told to stop. Outcomes are in the catalog when it ends, however it ends. */
  async run(files: readonly PendingFile[]): Promise<BatchResult> {
    const { attempt, lease } = this.deps;
    // Nothing is known of limits until the first answer.
    await lease.take(0, attempt.stopSignal).catch((error: unknown) => {
      if (!attempt.stopSignal.aborted) throw error;
    });
    this.few = files.length <= LANES;
    let next = 0;
    const lane = async (index: number): Promise<void> => {
      while (!this.stop.aborted && next < files.length) {
        if (index >= lease.width(LANES)) await pause(LOOK_MS, this.stop);
        else await this.one(files[next++] as PendingFile);
      }
    };
    await Promise.all(Array.from({ length: Math.min(LANES, files.length) }, (_, index) => lane(index)));
    this.figures.left += files.length - next;
    await this.outcomes.flush();
    if (this.failing.signal.aborted) throw this.failing.signal.reason;
    const { reason } = attempt.stopSignal as { reason: unknown };
    if (attempt.stopSignal.aborted && (attempt.pausedByOperator || reason instanceof LongshoreError))
      throw reason;
    return { ...this.figures, finished: !attempt.stopSignal.aborted };
  }

  private async one(file: PendingFile): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return this.arrived(file, await this.send(file));
      } catch (error) {
        if (this.signal.aborted) return void (this.figures.left += 1);
        const verdict = await this.judge(error, tries);
        if (verdict === 'changed') return await this.leave(file, error);
        if (verdict !== 'later') return this.settle(file, error, verdict);
      }
      await pause(
        Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** (tries - 1)) * (0.5 + Math.random() / 2),
        this.stop,
      );
      if (this.stop.aborted) return void (this.figures.left += 1);
    }
  }

  /** What passes is waited for while the server serves nobody; one that it serves to all others is this file's own. */
  private async judge(error: unknown, tries: number): Promise<Verdict> {
    const verdict = verdictOf(error);
    const code = (error as LongshoreError).code;
    if (code === 'AccessDenied' && ++this.denied >= DENIALS && this.figures.uploaded === 0) return 'batch';
    if (verdict !== 'later') return verdict;
    const quiet = performance.now() - Math.max(this.begun, this.deps.job.lastArrival);
    // A disk that cannot read one file, or a key that cannot be written, says nothing about the server.
    if (tries >= TRIES && (quiet < RECENT_MS || OWN.has(code))) return 'file';
    const late = this.few && this.deps.attempt.previous >= LATE && tries >= LATE_TRIES;
    if (late && (await this.answers())) return 'file';
    return quiet > PATIENCE_MS ? 'batch' : 'later';
  }

  /** Whether the server is well but for the keys that fail. */
  private async answers(): Promise<boolean> {
    const { store, job } = this.deps;
    const { bucket, prefix } = job.definition.destination;
    try {
      await headIfAllowed(store, { bucket, key: `${prefix}.longshore-probe` }, this.signal);
      return true;
    } catch (error) {
      if (error instanceof LongshoreError || this.signal.aborted) return false;
      throw error;
    }
  }

  /** The next round expects the file as it is now: as the scan saw it, it will never be again. */
  private async leave(file: PendingFile, error: unknown): Promise<void> {
    try {
      this.settle({ ...file, ...(await this.deps.files.look(file.path)) }, error, 'changed');
    } catch (unseen) {
      const verdict = verdictOf(unseen);
      if (verdict === 'later') this.settle(file, error, 'changed');
      else this.settle(file, unseen, verdict);
    }
  }

  private settle(file: PendingFile, error: unknown, verdict: Exclude<Verdict, 'later'>): void {
    if (verdict === 'batch') return this.failing.abort(error);
    const { code, message } = error as LongshoreError;
    const { path, size, mtimeNs } = file;
    if (verdict === 'changed') this.figures.left += 1;
    else this.figures.failed += 1;
    this.outcomes.add({
      ...{ path, size, mtimeNs, sentBytes: 0 },
      state: verdict === 'changed' ? 'PENDING' : 'FAILED',
      failureCode: code,
      failureReason: message,
    });
  }

  private arrived(file: PendingFile, { answer, crc }: Sent): void {
    const { path, size, mtimeNs } = file;
    this.deps.job.lastArrival = performance.now();
    this.figures.uploaded += 1;
    this.figures.bytes += size;
    this.outcomes.add({
      ...{ path, size, mtimeNs, state: 'UPLOADED', etag: answer.etag, sentBytes: size },
      ...(crc === undefined ? {} : { checksum: `crc32:${crc}` }),
      ...(answer.versionId === undefined ? {} : { versionId: answer.versionId }),
    });
  }

  // ── One file ───────────────────────────────────────────────────────────────────────────────────────────────────

  private async send(file: PendingFile): Promise<Sent> {
    const { files, job } = this.deps;
    const key = job.keyOf(file);
    if (file.marker) {
      await files.checkFolder(file.path);
      return await this.put(file, key, Buffer.alloc(0), 0);
    }
    if (file.size > LARGEST_BUFFER) return await this.sendLarger(file, key);
    const { buffers } = this.deps;
    const held = await buffers.acquire(bufferSize(file.size), this.signal);
    try {
      const bytes = held.subarray(0, file.size);
      await files.read(file, bytes, this.signal);
      return await this.put(file, key, bytes, crc32(bytes));
    } finally {
      buffers.release(held);
    }
  }

  private async sendLarger(file: PendingFile, key: string): Promise<Sent> {
    const larger = await this.deps.files.openLarger(file, this.signal);
    try {
      return await this.put(file, key, { length: file.size, open: () => larger.open() }, larger.crc32);
    } finally {
      await larger.close();
    }
  }

  private async put(file: PendingFile, key: string, body: Body, crc32OfBody: number): Promise<Sent> {
    const { store, job, lease, attempt } = this.deps;
    const { destination, objects } = job.definition;
    const crc = objects.checksum === false ? undefined : crcToBase64(crc32OfBody);
    attempt.fence();
    const answer = await store.putObject(
      {
        bucket: destination.bucket,
        key,
        body: lease.pace(body, this.signal),
        ...(crc === undefined ? {} : { crc32: crc }),
        ...job.attributesOf(file.path),
      },
      this.signal,
    );
    return { answer, crc };
  }
}

interface Sent {
  answer: PutAnswer;
  crc: string | undefined;
}

function bufferSize(size: number): number {
  return BUFFER_SIZES.find((one) => one >= size) ?? size;
}

/** Ends early, and without a word, when the signal is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
