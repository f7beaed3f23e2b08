/** What a worker does for maintenance: it sees that sweeps are scheduled. */
import type { Client } from '@temporalio/client';
import type { Config } from '../infra/config.js';
import type { Logger } from '../infra/telemetry/log.js';
import { ensureSweepSchedule } from '../infra/temporal/sweeps.js';
import { retrying } from './retrying.js';

export interface SweepSchedule {
  /** Once it is there, or nobody tries any more. Never rejects. */
  settled: Promise<void>;
  stop: () => void;
}

/** Goes on beside the workers: nothing that they do waits for it, and Temporal may not be set up for it yet. */
export function scheduleSweeps(
  client: Client,
  { maintenance, installation }: Config,
  { log, signal }: { log: Logger; signal: AbortSignal },
): SweepSchedule {
  const stopping = new AbortController();
  const until = { log, signal: AbortSignal.any([signal, stopping.signal]) };
  const settled = retrying('schedule the sweep', until, () =>
    ensureSweepSchedule(client, maintenance, installation),
  ).catch((error: unknown) => {
    if (!until.signal.aborted) log.error({ err: error }, 'no sweep is scheduled');
  });
  return { settled, stop: () => stopping.abort() };
}
