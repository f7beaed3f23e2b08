/** Follows an upload to its end: its figures twice a second, its end at once, and neither waits for the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../../core/errors.js';
import type { UploadProgress, UploadResult } from '../../core/uploads.js';
import { Monotonic } from '../live-progress.js';
import type { LongshoreClient, UploadView } from '../longshore-client.js';

export interface Followed {
  view(id: string): Promise<UploadView>;
  result: LongshoreClient['result'];
}

export interface Watcher {
  /** `progress` never goes back, unlike `view.progress`. */
  update(view: UploadView, progress: UploadProgress): void;
  /** Temporal has not answered for a while; said once until it does again. */
  silent(why: string): void;
  answered(): void;
}

const POLL_MS = 500;
const SILENCE_MS = 3_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 2_000;

/**
 * The result. Throws what the upload failed with, Cancelled, NotFound, or the reason of `signal`. Goes on asking for as
 * long as Temporal does not answer.
 */
export async function follow(
  client: Followed,
  upload: { id: string; runId?: string | undefined },
  watcher: Watcher,
  signal: AbortSignal,
): Promise<UploadResult> {
  const ended = new AbortController();
  const stop = AbortSignal.any([ended.signal, signal]);
  const polling = poll(client, upload.id, watcher, stop);
  try {
    return await Promise.race([resultOf(client, upload, stop), whenAborted(signal)]);
  } finally {
    ended.abort();
    // A call that is under way is left to end by itself: what it would say is no longer wanted.
    void polling;
  }
}

async function resultOf(
  client: Followed,
  { id, runId }: { id: string; runId?: string | undefined },
  signal: AbortSignal,
): Promise<UploadResult> {
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    try {
      return await client.result(id, runId);
    } catch (error) {
      if (signal.aborted || !isAway(error)) throw error;
      await sleep(pause, undefined, { signal });
    }
  }
}

function isAway(error: unknown): boolean {
  return error instanceof LongshoreError && error.code === 'TemporalUnavailable';
}

async function poll(client: Followed, id: string, watcher: Watcher, signal: AbortSignal): Promise<void> {
  const monotonic = new Monotonic();
  const silence = new Silence(watcher);
  signal.addEventListener('abort', () => silence.stop(), { once: true });
  while (!signal.aborted) {
    const began = performance.now();
    try {
      const view = await client.view(id);
      if (signal.aborted) return;
      silence.answered();
      watcher.update(view, monotonic.next(view.progress));
    } catch (error) {
      if (signal.aborted) return;
      silence.failed(error);
    }
    await pause(POLL_MS - (performance.now() - began), signal);
  }
}

/** Ends early when the signal fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal.addEventListener('abort', done, { once: true });
  });
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = (): void => reject(signal.reason as Error);
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}

/** A call to a server that is gone may hang rather than fail, so a timer says so. */
class Silence {
  private last = performance.now();
  private told = false;
  private why = 'no answer';
  private readonly timer = setInterval(() => this.check(), 500).unref();

  constructor(private readonly watcher: Watcher) {}

  answered(): void {
    this.last = performance.now();
    if (!this.told) return;
    this.told = false;
    this.watcher.answered();
  }

  failed(error: unknown): void {
    this.why = error instanceof Error ? error.message : String(error);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private check(): void {
    if (this.told || performance.now() - this.last < SILENCE_MS) return;
    this.told = true;
    this.watcher.silent(this.why);
  }
}
