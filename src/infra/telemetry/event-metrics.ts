/** What relays tell of the events that they send, and what waits for each sink. */
import type { Meter } from '@opentelemetry/api';
import type { EventMeter, Gauges } from './meter.js';

export function eventMeter(meter: Meter): EventMeter {
  const sent = meter.createCounter('longshore_events_sent_total', {
    description: 'Events that a sink took',
  });
  const dead = meter.createCounter('longshore_events_dead_total', {
    description: 'Events that a sink refused for good; they are in event_dead_letters',
  });
  const errors = meter.createCounter('longshore_events_errors_total', {
    description: 'Tries to send events that failed, by the code of the error',
  });
  return {
    sent: (sink, count) => sent.add(count, { sink }),
    dead: (sink) => dead.add(1, { sink }),
    failed: (sink, code) => errors.add(1, { sink, code }),
  };
}

export function observeOutbox(meter: Meter, read: NonNullable<Gauges['outbox']>): void {
  const waiting = meter.createObservableGauge('longshore_outbox_events', {
    description: 'Events that wait for a sink, up to 100,000',
  });
  const age = meter.createObservableGauge('longshore_outbox_age_seconds', {
    description: 'How long the oldest of them waits',
  });
  meter.addBatchObservableCallback(
    async (result) => {
      for (const lag of await read()) {
        result.observe(waiting, lag.waiting, { sink: lag.sink });
        result.observe(age, lag.age, { sink: lag.sink });
      }
    },
    [waiting, age],
  );
}
