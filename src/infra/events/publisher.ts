/** One face for every place that events go to. */
import type { LongshoreError } from '../../core/errors.js';
import type { CloudEvent, SinkName } from '../../core/events.js';

/** What became of some events, in their order. */
export interface Published {
  /** So many of the first ones are at the sink for sure. Others may be too, so whoever sends them again repeats them. */
  accepted: number;
  /**
   * Why not all: EventRefused when the sink will never take the one after those, SinkUnavailable for all that may pass
   * or that a person can repair.
   */
  failure?: LongshoreError;
}

/** At least once: repeating a call repeats events under their ids, and changes nothing else. */
export interface EventPublisher {
  readonly sink: SinkName;
  /** In this order for each subject. Does not throw; `signal` ends it early, with SinkUnavailable. */
  publish(events: readonly CloudEvent[], signal: AbortSignal): Promise<Published>;
  close(): Promise<void>;
}

/** The CloudEvents JSON format. */
export const CLOUDEVENT_JSON = 'application/cloudevents+json; charset=utf-8';

/**
 * The longest run from the beginning in which no subject comes twice: what may be sent at once without one event of a
 * subject overtaking another.
 */
export function firstOfEach(events: readonly CloudEvent[], most: number): CloudEvent[] {
  const subjects = new Set<string>();
  for (const event of events.slice(0, most)) {
    if (subjects.has(event.subject)) break;
    subjects.add(event.subject);
  }
  return events.slice(0, subjects.size);
}

/** Sends in waves, each when the one before has been taken whole. `send` gives a failure for each that was not taken. */
export async function inWaves(
  events: readonly CloudEvent[],
  next: (rest: readonly CloudEvent[]) => CloudEvent[],
  send: (wave: readonly CloudEvent[]) => Promise<(LongshoreError | undefined)[]>,
): Promise<Published> {
  let accepted = 0;
  while (accepted < events.length) {
    const wave = next(events.slice(accepted));
    const failures = await send(wave);
    const failed = failures.findIndex((failure) => failure !== undefined);
    const failure = failures[failed];
    if (failure !== undefined) return { accepted: accepted + failed, failure };
    accepted += wave.length;
  }
  return { accepted };
}
