/** A worker that starts before its servers waits for them, and says so; until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../core/errors.js';
import type { Logger } from '../infra/telemetry/log.js';

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

export async function retrying<T>(
  what: string,
  { log, signal }: { log: Logger; signal: AbortSignal },
  step: () => Promise<T>,
): Promise<T> {
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
    try {
      return await step();
    } catch (error) {
      if (error instanceof LongshoreError && error.retry !== 'retry') throw error;
      log.warn({ err: error, delay }, `could not ${what}; trying again`);
      await sleep(delay, undefined, { signal });
    }
  }
}
