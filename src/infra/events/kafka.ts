/** Events on a Kafka topic: keyed by subject, so that those of one subject are on one partition, in order. */
import type { KafkaConfig as KafkaOptions, Message, Producer, SASLOptions } from 'kafkajs';
import { LongshoreError } from '../../core/errors.js';
import type { CloudEvent } from '../../core/events.js';
import type { KafkaConfig } from '../config-events.js';
import { CLOUDEVENT_JSON, type EventPublisher, type Published } from './publisher.js';

const CONNECT_MS = 5_000;
const REQUEST_MS = 15_000;
/** Kafka's own retries are for leaders that move; whether to go on is the relay's to say. */
const RETRIES = 2;

export function createKafkaPublisher(config: KafkaConfig): EventPublisher {
  return new KafkaPublisher(config);
}

class KafkaPublisher implements EventPublisher {
  readonly sink = 'kafka';
  #producer: Producer | undefined;

  constructor(private readonly config: KafkaConfig) {}

  async publish(events: readonly CloudEvent[], signal: AbortSignal): Promise<Published> {
    if (events.length === 0) return { accepted: 0 };
    const failure = await this.#send(events, signal);
    if (failure === undefined) return { accepted: events.length };
    if (failure.code !== 'EventRefused' || events.length === 1) return { accepted: 0, failure };
    return await this.#oneByOne(events, signal);
  }

  async close(): Promise<void> {
    await this.#drop();
  }

  /** A batch is refused as a whole: alone, the one that it was refused for shows itself. */
  async #oneByOne(events: readonly CloudEvent[], signal: AbortSignal): Promise<Published> {
    for (const [accepted, event] of events.entries()) {
      const failure = await this.#send([event], signal);
      if (failure !== undefined) return { accepted, failure };
    }
    return { accepted: events.length };
  }

  async #send(events: readonly CloudEvent[], signal: AbortSignal): Promise<LongshoreError | undefined> {
    try {
      signal.throwIfAborted();
      this.#producer ??= await connectProducer(this.config);
      const messages = events.map(toMessage);
      await orAborted(this.#producer.send({ topic: this.config.topic, acks: -1, messages }), signal);
      return undefined;
    } catch (error) {
      // After a failure nobody knows which of its numbers the broker has seen: an idempotent producer begins afresh.
      await this.#drop();
      return failureOf(error, this.config);
    }
  }

  async #drop(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    // What could not be sent has been told; a connection that is gone need not be closed.
    await producer?.disconnect().catch(() => undefined);
  }
}

function toMessage(event: CloudEvent): Message {
  return { key: event.subject, value: JSON.stringify(event), headers: { 'content-type': CLOUDEVENT_JSON } };
}

async function connectProducer(config: KafkaConfig): Promise<Producer> {
  const kafka = await openKafka(config, 'longshore-relay');
  const { Partitioners } = await import('kafkajs');
  const producer = kafka.producer({
    idempotent: true,
    // One request after the other, or a retry could overtake what follows it.
    maxInFlightRequests: 1,
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  try {
    await producer.connect();
  } catch (error) {
    await producer.disconnect().catch(() => undefined);
    throw error;
  }
  return producer;
}

/** kafkajs with our settings; it has had no release since 2023, so nothing outside this folder knows of it. */
export async function openKafka(config: KafkaConfig, clientId: string) {
  const { Kafka, logLevel } = await import('kafkajs');
  const options: KafkaOptions = {
    clientId,
    brokers: [...config.brokers],
    connectionTimeout: CONNECT_MS,
    authenticationTimeout: CONNECT_MS,
    requestTimeout: REQUEST_MS,
    retry: { initialRetryTime: 200, retries: RETRIES },
    // Its failures are thrown too, and those are told.
    logLevel: logLevel.NOTHING,
    ssl: config.tls && (config.ca === undefined ? true : { ca: [config.ca] }),
    ...(config.sasl === undefined ? {} : { sasl: { ...config.sasl } as SASLOptions }),
  };
  return new Kafka(options);
}

/** kafkajs knows no signals. What was sent may still arrive, which at least once allows. */
async function orAborted<T>(sending: Promise<T>, signal: AbortSignal): Promise<T> {
  let forget = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    forget = () => signal.removeEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([sending, aborted]);
  } finally {
    forget();
    sending.catch(() => undefined);
  }
}

/** What Kafka calls its refusals of a record itself, whatever is done to it. */
const REFUSALS: ReadonlySet<string> = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'CORRUPT_MESSAGE',
  'INVALID_TIMESTAMP',
]);

export function failureOf(error: unknown, config: KafkaConfig): LongshoreError {
  const key = `kafka:${config.topic}`;
  const type = typeOf(error);
  const said = error instanceof Error ? error.message : String(error);
  if (type !== undefined && REFUSALS.has(type)) {
    return new LongshoreError('EventRefused', `Kafka refuses an event: ${said}`, {
      op: 'publish',
      key,
      cause: error,
    });
  }
  return new LongshoreError('SinkUnavailable', `Kafka does not take events: ${said}`, {
    op: 'publish',
    key,
    cause: error,
  });
}

/** kafkajs wraps the failure that it gave up on. */
function typeOf(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    const { type, originalError } = at as { type?: unknown; originalError?: unknown };
    if (typeof type === 'string') return type;
    const inner = typeOf(originalError);
    if (inner !== undefined) return inner;
  }
  return undefined;
}
