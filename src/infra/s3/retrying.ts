/**
 * A few quick repetitions of one call, so that a passing 503 costs one part and not the whole activity attempt. Longer
 * trouble is left to Temporal's retry policy.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../../core/errors.js';
import { isOnce } from './once.js';
import type { ObjectStore } from './store.js';

export interface RetryOptions {
  tries?: number;
  /** First pause, doubled after each try, ms. */
  baseMs?: number;
  maxMs?: number;
  /** 0 to 1. */
  random?: () => number;
}

/** Calls `fn` until it succeeds, fails by an error that is not `retry`, or has had its tries. */
export async function withRetries<T>(
  fn: () => Promise<T>,
  signal: AbortSignal,
  { tries = 5, baseMs = 200, maxMs = 5000, random = Math.random }: RetryOptions = {},
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fn();
    } catch (error) {
      if (signal.aborted || attempt >= tries || !(error instanceof LongshoreError) || error.retry !== 'retry')
        throw error;
      const ceiling = Math.min(maxMs, baseMs * 2 ** (attempt - 1));
      await pause(ceiling * (0.5 + random() / 2), signal);
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    // The timer wraps the reason in an error of its own; callers tell a cancellation by the reason.
    throw signal.aborted ? signal.reason : error;
  }
}

/**
 * The store with those calls repeated that may be: not Create, whose lost answer leaves an orphan each time, and not
 * Complete, whose failure needs a look at the key first.
 */
export function retrying(store: ObjectStore, options?: RetryOptions): ObjectStore {
  return {
    ...store,
    headObject: (ref, signal) => withRetries(() => store.headObject(ref, signal), signal, options),
    putObject: (request, signal) =>
      isOnce(request.body)
        ? store.putObject(request, signal)
        : withRetries(() => store.putObject(request, signal), signal, options),
    uploadPart: (request, signal) =>
      isOnce(request.body)
        ? store.uploadPart(request, signal)
        : withRetries(() => store.uploadPart(request, signal), signal, options),
    uploadPartCopy: (request, signal) =>
      withRetries(() => store.uploadPartCopy(request, signal), signal, options),
    listParts: (request, signal) => withRetries(() => store.listParts(request, signal), signal, options),
    listUploadsPage: (request, signal) =>
      withRetries(() => store.listUploadsPage(request, signal), signal, options),
    listVersions: (request, signal) =>
      withRetries(() => store.listVersions(request, signal), signal, options),
    listObjects: (request, signal) => withRetries(() => store.listObjects(request, signal), signal, options),
    deleteObjects: (request, signal) =>
      withRetries(() => store.deleteObjects(request, signal), signal, options),
  };
}
