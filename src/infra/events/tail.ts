/** Reads events from Kafka, for people who watch them. It reads as nobody: no offset is kept, and its group is removed. */
import { randomUUID } from 'node:crypto';
import type { Consumer, Kafka } from 'kafkajs';
import type { CloudEvent } from '../../core/events.js';
import type { KafkaConfig } from '../config-events.js';
import { failureOf, openKafka } from './kafka.js';

export interface TailOptions {
  /** Also what is on the topic already. */
  fromBeginning: boolean;
  /** Ends it, without an error. */
  signal: AbortSignal;
  /** What is sent from now on is seen. */
  onReady?: () => void;
  /** What lies on the topic and is no event of ours. */
  onOther?: (offset: string) => void;
}

/** Gives every event to `onEvent` until that answers false or the signal is aborted. Throws SinkUnavailable. */
export async function tailEvents(
  config: KafkaConfig,
  options: TailOptions,
  onEvent: (event: CloudEvent) => boolean,
): Promise<void> {
  const { signal } = options;
  const kafka = await openKafka(config, 'longshore-tail');
  const groupId = `longshore-tail-${randomUUID()}`;
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 500 });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic: config.topic, fromBeginning: options.fromBeginning });
    await consume(consumer, options, onEvent);
  } catch (error) {
    if (!signal.aborted) throw failureOf(error, config);
  } finally {
    await leave(kafka, consumer, groupId);
  }
}

async function consume(
  consumer: Consumer,
  { signal, onReady, onOther }: TailOptions,
  onEvent: (event: CloudEvent) => boolean,
): Promise<void> {
  let over = false;
  await new Promise<void>((resolve, reject) => {
    const end = (): void => {
      over = true;
      resolve();
    };
    if (signal.aborted) return end();
    signal.addEventListener('abort', end, { once: true });
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) reject(payload.error);
    });
    // Joining a group does not say where it begins; the first answer does.
    const removeReady = consumer.on(consumer.events.FETCH, () => {
      removeReady();
      onReady?.();
    });
    consumer
      .run({
        autoCommit: false,
        eachMessage: ({ message }) => {
          if (over) return Promise.resolve();
          const event = parse(message.value);
          if (event === undefined) onOther?.(message.offset);
          else if (!onEvent(event)) end();
          return Promise.resolve();
        },
      })
      .catch(reject);
  });
}

/** Topics may be shared. */
function parse(value: Buffer | null): CloudEvent | undefined {
  if (value === null) return undefined;
  try {
    const event = JSON.parse(value.toString()) as Partial<CloudEvent> | null;
    const ours = event?.specversion === '1.0' && typeof event.type === 'string';
    return ours ? (event as CloudEvent) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function leave(kafka: Kafka, consumer: Consumer, groupId: string): Promise<void> {
  const admin = kafka.admin();
  try {
    await consumer.disconnect();
    await admin.connect();
    await admin.deleteGroups([groupId]);
  } catch {
    // A group that nobody uses is forgotten by Kafka itself, some days later; why it could not be left now is no matter.
  } finally {
    await admin.disconnect();
  }
}
