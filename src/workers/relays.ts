/** What a worker does for events: it knows their sinks, and sees that each has its relay. */
import type { Client } from '@temporalio/client';
import { createRelayActivities, type RelayActivities } from '../activities/relay.js';
import type { SinkName } from '../core/events.js';
import type { Pool } from '../infra/catalog/pool.js';
import type { Config } from '../infra/config.js';
import { eventSinks } from '../infra/events/index.js';
import type { Logger } from '../infra/telemetry/log.js';
import type { Metrics } from '../infra/telemetry/metrics.js';
import { temporalError } from '../infra/temporal/connection.js';
import { ensureRelay } from '../infra/temporal/relays.js';
import { retrying } from './retrying.js';

export interface Relays {
  activities: RelayActivities;
  sinks: SinkName[];
  /** A relay has no end of its own that a grace time could wait for. */
  stop: () => void;
}

export function createRelays(config: Config, db: Pool, log: Logger, metrics?: Metrics): Relays {
  const sinks = eventSinks(config.events, config.url.allow);
  const stopping = new AbortController();
  const activities = createRelayActivities({
    ...{ db, installation: config.installation, sinks, log, meter: metrics?.events },
    keepMs: config.events.keepMs,
    stopping: stopping.signal,
  });
  return { activities, sinks: [...sinks.keys()], stop: () => stopping.abort() };
}

/** `signal` ends the wait for a Temporal that is not there. */
export async function ensureRelays(
  client: Client,
  { temporal }: Config,
  sinks: readonly SinkName[],
  until: { log: Logger; signal: AbortSignal },
): Promise<void> {
  await retrying('start the relays of events', until, async () => {
    try {
      for (const sink of sinks) await ensureRelay(client, sink);
    } catch (error) {
      throw temporalError(temporal, 'ensureRelay', error);
    }
  });
}
