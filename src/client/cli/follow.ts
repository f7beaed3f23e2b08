/** Follows work to its end: its figures twice a second, its end at once, and neither waits for the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../../core/errors.js';
import type { UploadProgress, UploadResult } from '../../core/uploads.js';
import { Monotonic } from '../live-progress.js';
import type { LongshoreClient, UploadView } from '../longshore-client.js';

export interface Followed {
  view(id: string): Promise<UploadView>;
  result: LongshoreClient['result'];
}

/** Told of one look after the other; `What` is what a look sees. */
export interface WatcherOf<What extends unknown[]> {
  update(...what: What): void;
  /** Temporal has not answered for a while; said once until it does again. */
  silent(why: string): void;
  answered(): void;
}

/** The progress never goes back, unlike that of the view. */
export type Watcher = WatcherOf<[UploadView, UploadProgress]>;

/** What is followed: `look` may fail for a while, `result` may be asked again when Temporal was away. */
export interface Looks<What extends unknown[], Result> {
  look(): Promise<What>;
  result(): Promise<Result>;
}

const POLL_MS = 500;
const SILENCE_MS = 3_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 2_000;

/** Follows one upload; as `followLooks`. */
export async function follow(
  client: Followed,
  { id, runId }: { id: string; runId?: string | undefined },
  watcher: Watcher,
  signal: AbortSignal,
): Promise<UploadResult> {
  const monotonic = new Monotonic();
  const looks: Looks<[UploadView, UploadProgress], UploadResult> = {
    look: async () => {
      const view = await client.view(id);
      return [view, monotonic.next(view.progress)];
    },
    result: () => client.result(id, runId),
  };
  return await followLooks(looks, watcher, signal);
}

/**
 * The result. Throws what the work failed with, Cancelled, NotFound, or the reason of `signal`. Goes on asking for as
 * long as Temporal does not answer.
 */
export async function followLooks<What extends unknown[], Result>(
  looks: Looks<What, Result>,
  watcher: WatcherOf<What>,
  signal: AbortSignal,
): Promise<Result> {
  const ended = new AbortController();
  const stop = AbortSignal.any([ended.signal, signal]);
  const polling = poll(looks, watcher, stop);
  try {
    return await Promise.race([resultOf(looks, stop), whenAborted(signal)]);
  } finally {
    ended.abort();
    // A call that is under way is left to end by itself: what it would say is no longer wanted.
    void polling;
  }
}

async function resultOf<Result>(looks: Looks<unknown[], Result>, signal: AbortSignal): Promise<Result> {
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    try {
      return await looks.result();
    } catch (error) {
      if (signal.aborted || !isAway(error)) throw error;
      await sleep(pause, undefined, { signal });
    }
  }
}

function isAway(error: unknown): boolean {
  return error instanceof LongshoreError && error.code === 'TemporalUnavailable';
}

async function poll<What extends unknown[]>(
  looks: Looks<What, unknown>,
  watcher: WatcherOf<What>,
  signal: AbortSignal,
): Promise<void> {
  const silence = new Silence(watcher);
  signal.addEventListener('abort', () => silence.stop(), { once: true });
  while (!signal.aborted) {
    const began = performance.now();
    try {
      const what = await looks.look();
      if (signal.aborted) return;
      silence.answered();
      watcher.update(...what);
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

  constructor(private readonly watcher: Pick<Watcher, 'silent' | 'answered'>) {}

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
