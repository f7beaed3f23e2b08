import { expect, it, onTestFinished } from 'vitest';
import { createMetrics } from '../../src/infra/telemetry/metrics.js';

it('events are counted by sink, and what waits is asked for when the metrics are read', async () => {
  const metrics = createMetrics();
  onTestFinished(() => metrics.close());
  metrics.observe({
    outbox: () =>
      Promise.resolve([
        { sink: 'kafka', waiting: 7, age: 61.5 },
        { sink: 'sqs', waiting: 0, age: 0 },
      ]),
  });
  metrics.events.sent('kafka', 3);
  metrics.events.sent('kafka', 2);
  metrics.events.dead('sqs');
  metrics.events.failed('kafka', 'SinkUnavailable');
  const lines = (await metrics.text()).split('\n');
  expect(lines).toContain('longshore_outbox_events{sink="kafka"} 7');
  expect(lines).toContain('longshore_outbox_events{sink="sqs"} 0');
  expect(lines).toContain('longshore_outbox_age_seconds{sink="kafka"} 61.5');
  expect(lines).toContain('longshore_events_sent_total{sink="kafka"} 5');
  expect(lines).toContain('longshore_events_dead_total{sink="sqs"} 1');
  expect(lines).toContain('longshore_events_errors_total{sink="kafka",code="SinkUnavailable"} 1');
});
