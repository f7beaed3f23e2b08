/** Where events go. A sink that nobody names is none; events stay in the catalog until they are pruned. */
import { readFileSync } from 'node:fs';
import { hidePassword, invalid } from './config-settings.js';
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface EventsConfig {
  readonly kafka: KafkaConfig | undefined;
  readonly sqs: SqsConfig | undefined;
  readonly webhook: WebhookConfig | undefined;
  /** Milliseconds that events are kept at least, sent or not. */
  readonly keepMs: number;
}

export interface KafkaConfig {
  /** `host:port` of each. */
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly tls: boolean;
  /** PEM of the only certificate authority to trust. */
  readonly ca: string | undefined;
  readonly sasl: KafkaSasl | undefined;
}

export interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

export interface SqsConfig {
  /** Its host is where requests go. A name that ends in `.fifo` is a FIFO queue. */
  readonly url: string;
  readonly region: string;
  /** Both or none; without them the standard AWS chain decides. */
  readonly accessKeyId: string | undefined;
  readonly secretAccessKey: string | undefined;
}

export interface WebhookConfig {
  /** A secret: people put tokens into such addresses. */
  readonly url: string;
  /** What signatures are made with; `whsec_` and base64, or any text. */
  readonly secret: string;
  /** How CloudEvents travel by HTTP: whole in the body, or their attributes in headers. */
  readonly mode: 'structured' | 'binary';
  /** Milliseconds until an answer must be there. */
  readonly timeoutMs: number;
}

const DAY_MS = 24 * 3600 * 1000;

export function readEvents(settings: Settings): EventsConfig {
  const keep = settings.read({ env: ['LONGSHORE_EVENTS_KEEP'], schema: v.time(60_000, 365 * DAY_MS) });
  return {
    kafka: readKafka(settings),
    sqs: readSqs(settings),
    webhook: readWebhook(settings),
    keepMs: keep ?? 7 * DAY_MS,
  };
}

const TOPIC = /^[A-Za-z0-9._-]{1,249}$/;

function readKafka(settings: Settings): KafkaConfig | undefined {
  const brokers = settings.read({ env: ['LONGSHORE_EVENTS_KAFKA_BROKERS'], schema: v.list() });
  if (brokers === undefined || brokers.length === 0) return undefined;
  const wrong = brokers.find((broker) => !v.address().safeParse(broker).success);
  if (wrong !== undefined) {
    const message = `LONGSHORE_EVENTS_KAFKA_BROKERS names ${JSON.stringify(hidePassword(wrong))}, but must list addresses such as 127.0.0.1:9092`;
    throw invalid('LONGSHORE_EVENTS_KAFKA_BROKERS', message);
  }
  const ca = settings.read({ env: ['LONGSHORE_EVENTS_KAFKA_CA_FILE'], schema: v.text() });
  const topic = v.matching(TOPIC, 'up to 249 letters, digits, dots, dashes or underscores');
  return {
    brokers,
    topic: settings.read({ env: ['LONGSHORE_EVENTS_KAFKA_TOPIC'], schema: topic }) ?? 'longshore.events',
    tls: settings.read({ env: ['LONGSHORE_EVENTS_KAFKA_TLS'], schema: v.boolean() }) ?? ca !== undefined,
    ca: ca === undefined ? undefined : readPem('LONGSHORE_EVENTS_KAFKA_CA_FILE', ca),
    sasl: readSasl(settings),
  };
}

function readSasl(settings: Settings): KafkaSasl | undefined {
  const variable = (end: string): string => `LONGSHORE_EVENTS_KAFKA_SASL${end}`;
  const username = settings.read({ env: [variable('_USERNAME')], schema: v.text() });
  const password = settings.read({ env: [variable('_PASSWORD')], schema: v.text(), secret: true });
  const mechanism = settings.read({
    env: [variable('')],
    schema: v.oneOf('plain', 'scram-sha-256', 'scram-sha-512'),
  });
  if (username === undefined && password === undefined && mechanism === undefined) return undefined;
  if (username === undefined || password === undefined) {
    const missing = variable(username === undefined ? '_USERNAME' : '_PASSWORD');
    throw invalid(missing, `${missing} is not set, but must be, since Kafka is logged in to`);
  }
  return { mechanism: mechanism ?? 'plain', username, password };
}

function readPem(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw invalid(name, `${name} names a file that cannot be read (${code})`, error);
  }
}

function readSqs(settings: Settings): SqsConfig | undefined {
  const url = settings.read({ env: ['LONGSHORE_EVENTS_SQS_URL'], schema: v.webAddress() });
  if (url === undefined) return undefined;
  const id = settings.read({ env: ['LONGSHORE_EVENTS_SQS_ACCESS_KEY_ID'], schema: v.text() });
  const secret = settings.read({
    env: ['LONGSHORE_EVENTS_SQS_SECRET_ACCESS_KEY'],
    schema: v.text(),
    secret: true,
  });
  if ((id === undefined) !== (secret === undefined)) {
    const missing = `LONGSHORE_EVENTS_SQS_${id === undefined ? 'ACCESS_KEY_ID' : 'SECRET_ACCESS_KEY'}`;
    throw invalid(missing, `${missing} is not set, but must be, since the other half is`);
  }
  const region = settings.read({
    env: ['LONGSHORE_EVENTS_SQS_REGION', 'AWS_REGION', 'AWS_DEFAULT_REGION'],
    schema: v.text(),
  });
  const named = /^https:\/\/sqs\.([a-z0-9-]+)\.amazonaws\.com/.exec(url)?.[1];
  return { url, region: named ?? region ?? 'us-east-1', accessKeyId: id, secretAccessKey: secret };
}

const SHORTEST_SECRET = 16;

function readWebhook(settings: Settings): WebhookConfig | undefined {
  const url = settings.read({ env: ['LONGSHORE_EVENTS_WEBHOOK_URL'], schema: v.text(), secret: true });
  if (url === undefined) return undefined;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const plain = parsed !== undefined && parsed.username === '' && parsed.password === '';
  if (!plain || !/^https?:$/.test(parsed.protocol)) {
    const message =
      'LONGSHORE_EVENTS_WEBHOOK_URL is (hidden), but must be an http:// or https:// address without user and password';
    throw invalid('LONGSHORE_EVENTS_WEBHOOK_URL', message);
  }
  const secret = settings.read({ env: ['LONGSHORE_EVENTS_WEBHOOK_SECRET'], schema: v.text(), secret: true });
  if (secret === undefined || secret.length < SHORTEST_SECRET) {
    const state = secret === undefined ? 'is not set' : 'is too short';
    const message = `LONGSHORE_EVENTS_WEBHOOK_SECRET ${state}, but must be a text of at least ${SHORTEST_SECRET} characters: webhooks are signed`;
    throw invalid('LONGSHORE_EVENTS_WEBHOOK_SECRET', message);
  }
  return {
    url,
    secret,
    mode:
      settings.read({
        env: ['LONGSHORE_EVENTS_WEBHOOK_MODE'],
        schema: v.oneOf('structured', 'binary'),
      }) ?? 'structured',
    timeoutMs:
      settings.read({ env: ['LONGSHORE_EVENTS_WEBHOOK_TIMEOUT'], schema: v.time(100, 300_000) }) ?? 10_000,
  };
}

/** For people and logs: secrets say only that they are set. */
export function describeEvents({ kafka, sqs, webhook, keepMs }: EventsConfig): Record<string, unknown> {
  const set = (secret: unknown) => (secret === undefined ? undefined : '(set)');
  return {
    kafka: kafka && {
      ...kafka,
      ca: set(kafka.ca),
      sasl: kafka.sasl && { ...kafka.sasl, password: set(kafka.sasl.password) },
    },
    sqs: sqs && { ...sqs, secretAccessKey: set(sqs.secretAccessKey) },
    webhook: webhook && { ...webhook, url: `${new URL(webhook.url).origin}/…`, secret: set(webhook.secret) },
    keepMs,
  };
}
