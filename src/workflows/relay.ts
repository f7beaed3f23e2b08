/**
 * `relayEvents`: the one relay of a sink. It never ends by itself: a go of its activity lasts some minutes, and after some
 * goes the workflow continues as new, so that its history stays short however many events pass.
 */
import {
  continueAsNew,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  sleep,
} from '@temporalio/workflow';
import type { RelayActivities } from '../activities/relay.js';
import type { RelayAnswer, RelayInput } from '../core/events.js';
import { RELAY, RELAY_PAUSE } from './activity-options.js';
import { failureOf } from './failures.js';

const activities = proxyActivities<RelayActivities>(RELAY);

/** A day of goes. */
const GOES = 144;
/** Goes in a row that met only workers without the sink: it was taken out of the configuration. */
const MOST_UNKNOWN = 60;

export async function relayEvents({ sink, unknown = 0 }: RelayInput): Promise<void> {
  let strange = unknown;
  for (let go = 0; go < GOES; go += 1) {
    const answer = await oneGo(sink);
    if (answer?.known === true) {
      strange = 0;
      continue;
    }
    if (answer?.known === false) strange += 1;
    // A worker that has the sink starts its relay again.
    if (strange >= MOST_UNKNOWN) return;
    await sleep(RELAY_PAUSE);
  }
  await continueAsNew<typeof relayEvents>({ sink, unknown: strange });
}

/** undefined when it failed for good: events wait, so whatever it was, the relay comes back to them. */
async function oneGo(sink: RelayInput['sink']): Promise<RelayAnswer | undefined> {
  try {
    const answer = await activities.relayEvents.executeWithOptions({ summary: `events to ${sink}` }, [
      { sink },
    ]);
    setCurrentDetails(
      answer.known ? `${answer.sent} sent in the last go` : 'the worker that was asked has no such sink',
    );
    return answer;
  } catch (error) {
    if (isCancellation(error)) throw error;
    const { code, message } = failureOf(error);
    setCurrentDetails(`**${code}**: ${message}`);
    return undefined;
  }
}
