/** The publishers that a configuration asks for. */
import type { SinkName } from '../../core/events.js';
import type { EventsConfig } from '../config-events.js';
import { createKafkaPublisher } from './kafka.js';
import type { EventPublisher } from './publisher.js';
import { createSqsPublisher } from './sqs.js';
import { createWebhookPublisher } from './webhook.js';

export type { EventPublisher, Published } from './publisher.js';

/** By name; each call opens one, which is closed by whoever did. `allow`: private addresses that webhooks may have. */
export function eventSinks(
  { kafka, sqs, webhook }: EventsConfig,
  allow: readonly string[],
): Map<SinkName, () => EventPublisher> {
  const sinks = new Map<SinkName, () => EventPublisher>();
  if (kafka !== undefined) sinks.set('kafka', () => createKafkaPublisher(kafka));
  if (sqs !== undefined) sinks.set('sqs', () => createSqsPublisher(sqs));
  if (webhook !== undefined) sinks.set('webhook', () => createWebhookPublisher(webhook, { allow }));
  return sinks;
}
