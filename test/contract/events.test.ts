/** One suite for every place that events go to, on a real Kafka, a real SQS server and a real receiver of webhooks. */
import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { CloudEvent, SinkName } from '../../src/core/events.js';
import type { WebhookConfig } from '../../src/infra/config-events.js';
import { createKafkaPublisher } from '../../src/infra/events/kafka.js';
import type { EventPublisher } from '../../src/infra/events/publisher.js';
import { createSqsPublisher } from '../../src/infra/events/sqs.js';
import { tailEvents } from '../../src/infra/events/tail.js';
import { createWebhookPublisher } from '../../src/infra/events/webhook.js';
import { faultsOf } from '../helpers/event-schemas.js';
import { bySubject, testEvent } from '../helpers/events.js';
import { readTopic, startTestKafka, type TestKafka } from '../helpers/kafka.js';
import { startTestSqs, type TestSqs } from '../helpers/sqs.js';
import { startReceiver, type Delivery, type TestReceiver } from '../helpers/webhook.js';
import { eventually } from '../helpers/wait.js';

const START_MS = 240_000;
const SECRET = 'a secret of this suite';
const alive = new AbortController().signal;

let kafka: TestKafka;
let sqs: TestSqs;

beforeAll(async () => {
  // One after the other: both are JVMs.
  kafka = await startTestKafka();
  sqs = await startTestSqs();
}, START_MS);
afterAll(async () => {
  await kafka.close();
  await sqs.close();
});

/** A place of a test's own. */
interface Place {
  publisher: EventPublisher;
  /** All that has come so far. */
  events(): Promise<readonly CloudEvent[]> | readonly CloudEvent[];
  /** The server is stopped, and started again. */
  down(): Promise<void>;
  up(): Promise<void>;
}

interface Kind {
  name: string;
  sink: SinkName;
  /** Keeps events of a subject in order. */
  ordered: boolean;
  /** Drops what it has had already. */
  deduplicates: boolean;
  place(): Promise<Place>;
}

/** Refused by each place of this suite. */
const HUGE = 'x'.repeat(400_000);

async function onKafka(): Promise<Place> {
  const topic = `t-${randomUUID()}`;
  await kafka.createTopic(topic, { maxBytes: 200_000 });
  const publisher = createKafkaPublisher(kafka.config(topic));
  let reader = await readTopic(kafka, topic);
  onTestFinished(() => reader.close());
  return {
    publisher,
    events: () => reader.received.map(({ event }) => event),
    down: async () => {
      await reader.close();
      await kafka.stop();
    },
    up: async () => {
      await kafka.start();
      reader = await readTopic(kafka, topic);
    },
  };
}

async function onSqs(suffix: string): Promise<Place> {
  const name = `t-${randomUUID()}${suffix}`;
  const config = await sqs.createQueue(name);
  const had: CloudEvent[] = [];
  const events = async (): Promise<CloudEvent[]> => {
    had.push(...(await sqs.drain(config)));
    return had;
  };
  return {
    publisher: createSqsPublisher(config),
    events,
    down: async () => {
      // This server keeps nothing over a restart.
      await events();
      await sqs.stop();
    },
    up: async () => {
      await sqs.start();
      await sqs.createQueue(name);
    },
  };
}

async function receiverOfTest(): Promise<TestReceiver> {
  const receiver = await startReceiver();
  onTestFinished(() => receiver.close());
  return receiver;
}

const hook = (url: string, mode: WebhookConfig['mode']): WebhookConfig => ({
  ...{ url, mode, secret: SECRET, timeoutMs: 2_000 },
});

async function onWebhook(mode: WebhookConfig['mode']): Promise<Place> {
  const receiver = await receiverOfTest();
  receiver.answer = ({ body }) => (body.length > 200_000 ? 413 : 204);
  return {
    publisher: createWebhookPublisher(hook(receiver.url, mode), { allow: [receiver.host] }),
    events: () => receiver.deliveries.map(eventOf),
    down: () => receiver.down(),
    up: () => receiver.up(),
  };
}

function eventOf({ headers, body }: Delivery): CloudEvent {
  if (headers['content-type']?.startsWith('application/cloudevents+json') === true)
    return JSON.parse(body) as CloudEvent;
  const attributes = Object.entries(headers)
    .filter(([name]) => name.startsWith('ce-'))
    .map(([name, value]) => [name.slice(3), decodeURIComponent(String(value))]);
  return {
    ...(Object.fromEntries(attributes) as Omit<CloudEvent, 'data'>),
    datacontenttype: headers['content-type'] as CloudEvent['datacontenttype'],
    data: JSON.parse(body) as CloudEvent['data'],
  };
}

const KINDS: Kind[] = [
  { name: 'Kafka', sink: 'kafka', ordered: true, deduplicates: false, place: onKafka },
  { name: 'SQS, FIFO', sink: 'sqs', ordered: true, deduplicates: true, place: () => onSqs('.fifo') },
  { name: 'SQS, standard', sink: 'sqs', ordered: false, deduplicates: false, place: () => onSqs('') },
  {
    ...{ name: 'a webhook, structured', sink: 'webhook', ordered: true, deduplicates: false },
    place: () => onWebhook('structured'),
  },
  {
    ...{ name: 'a webhook, binary', sink: 'webhook', ordered: true, deduplicates: false },
    place: () => onWebhook('binary'),
  },
];

async function open(kind: Kind): Promise<Place> {
  const place = await kind.place();
  onTestFinished(() => place.publisher.close());
  expect(place.publisher.sink).toBe(kind.sink);
  return place;
}

/** All that is there once these are. */
async function received(
  place: Place,
  expected: readonly CloudEvent[],
  copies = 1,
): Promise<readonly CloudEvent[]> {
  const all = async (): Promise<readonly CloudEvent[] | false> => {
    const events = await place.events();
    const complete = expected.every(({ id }) => events.filter((event) => event.id === id).length >= copies);
    return complete && events;
  };
  return await eventually(all, { timeout: 30_000, what: `${expected.length} events at the sink` });
}

describe.each(KINDS)('$name', (kind) => {
  it('takes events whole, those of each subject in order', async () => {
    const place = await open(kind);
    const subjects = ['node-1', 'node-2', `node-${'3'.repeat(190)}`];
    const events = Array.from({ length: 45 }, (_, n) => testEvent(subjects[n % 3] ?? '', n, `ü "%" 🚢 ${n}`));
    expect(await place.publisher.publish(events, alive)).toEqual({ accepted: events.length });
    const there = await received(place, events);
    const sorted = (list: readonly CloudEvent[]) => [...list].sort((a, b) => (a.id < b.id ? -1 : 1));
    expect(sorted(there)).toEqual(sorted(events));
    expect(there.flatMap(faultsOf)).toEqual([]);
    if (kind.ordered) expect(bySubject(there)).toEqual(bySubject(events));
  });

  it('takes nothing well', async () => {
    const { publisher } = await open(kind);
    expect(await publisher.publish([], alive)).toEqual({ accepted: 0 });
  });

  it('has what is sent again under the same id, or once', async () => {
    const place = await open(kind);
    const event = testEvent('node');
    for (let times = 0; times < 2; times += 1) {
      expect(await place.publisher.publish([event], alive)).toEqual({ accepted: 1 });
    }
    const copies = kind.deduplicates ? 1 : 2;
    const there = await received(place, [event], copies);
    expect(there).toEqual(Array(copies).fill(event));
  });

  it('says which event it never takes; what came before is there, what comes after can go on', async () => {
    const place = await open(kind);
    const [before, huge, after] = [testEvent('a'), testEvent('bad', 0, HUGE), testEvent('c')];
    const published = await place.publisher.publish([before, testEvent('b'), huge, after], alive);
    expect(published.failure?.message).toMatch(/refuses an event|answers 413/);
    expect(published).toMatchObject({ accepted: 2, failure: { code: 'EventRefused', retry: 'never' } });
    expect(await place.publisher.publish([after], alive)).toEqual({ accepted: 1 });
    const there = await received(place, [before, testEvent('b'), after]);
    expect(there.filter(({ subject }) => subject === 'bad')).toEqual([]);
  });

  it('says that it is away, and takes the same when it is back', async () => {
    const place = await open(kind);
    const { publisher } = place;
    await publisher.publish([testEvent('n', 0)], alive);
    await received(place, [testEvent('n', 0)]);
    await place.down();
    const rest = [testEvent('n', 1), testEvent('n', 2)];
    const published = await publisher.publish(rest, alive).finally(() => place.up());
    expect(published).toMatchObject({ accepted: 0, failure: { code: 'SinkUnavailable', retry: 'retry' } });
    await eventually(async () => (await publisher.publish(rest, alive)).accepted === 2, {
      ...{ timeout: 30_000, interval: 500, what: 'the sink to be back' },
    });
    await received(place, rest);
  }, 120_000);

  it('stops when it is told to', async () => {
    const { publisher } = await open(kind);
    const published = await publisher.publish([testEvent('n')], AbortSignal.abort(new Error('stop')));
    expect(published).toMatchObject({ accepted: 0, failure: { code: 'SinkUnavailable' } });
  });

  it('leaves nothing open when it is closed without having sent', async () => {
    const { publisher } = await kind.place();
    await publisher.close();
  });
});

describe('Kafka', () => {
  it('has the subject as key, and all of a subject on one partition', async () => {
    const topic = `t-${randomUUID()}`;
    await kafka.createTopic(topic);
    const publisher = createKafkaPublisher(kafka.config(topic));
    const reader = await readTopic(kafka, topic);
    onTestFinished(async () => {
      await publisher.close();
      await reader.close();
    });
    const events = Array.from({ length: 40 }, (_, n) => testEvent(`node-${n % 10}`, n));
    await publisher.publish(events, alive);
    await eventually(() => reader.received.length >= events.length, { timeout: 20_000 });
    const places = new Map<string, Set<number>>();
    for (const { event, key, partition, contentType } of reader.received) {
      expect(key).toBe(event.subject);
      expect(contentType).toMatch(/^application\/cloudevents\+json/);
      places.set(key, (places.get(key) ?? new Set()).add(partition));
    }
    expect([...places.values()].map(({ size }) => size)).toEqual(Array(10).fill(1));
    expect(new Set([...places.values()].flatMap((set) => [...set])).size).toBeGreaterThan(1);
  });

  it('is read from its beginning, and from now on, by whoever watches', async () => {
    const topic = `t-${randomUUID()}`;
    await kafka.createTopic(topic);
    const publisher = createKafkaPublisher(kafka.config(topic));
    onTestFinished(() => publisher.close());
    await publisher.publish([testEvent('n', 1)], alive);
    const all: string[] = [];
    await tailEvents(
      kafka.config(topic),
      { fromBeginning: true, signal: alive },
      ({ id }) => all.push(id) < 1,
    );
    expect(all).toEqual([testEvent('n', 1).id]);
    const later: string[] = [];
    let ready = (): void => undefined;
    const isReady = new Promise<void>((resolve) => (ready = resolve));
    const tail = tailEvents(
      kafka.config(topic),
      { fromBeginning: false, signal: alive, onReady: () => ready() },
      ({ id }) => later.push(id) < 2,
    );
    await isReady;
    await publisher.publish([testEvent('n', 2), testEvent('n', 3)], alive);
    await tail;
    expect(later).toEqual([2, 3].map((n) => testEvent('n', n).id));
    const admin = (await kafka.client()).admin();
    await admin.connect();
    const { groups } = await admin.listGroups().finally(() => admin.disconnect());
    expect(groups.filter(({ groupId }) => groupId.startsWith('longshore-tail-'))).toEqual([]);
  });

  it('that is not there is named, without the password to it', async () => {
    const sasl = { mechanism: 'plain', username: 'u', password: 'hidden-word' } as const;
    const publisher = createKafkaPublisher({ ...kafka.config('x'), brokers: ['127.0.0.1:9'], sasl });
    onTestFinished(() => publisher.close());
    const { failure } = await publisher.publish([testEvent('n')], alive);
    expect(failure).toMatchObject({ code: 'SinkUnavailable', key: 'kafka:x' });
    expect(failure?.message).toContain('127.0.0.1:9');
    expect(JSON.stringify(failure) + failure?.message).not.toContain('hidden-word');
  });
});

describe('webhooks', () => {
  const open = async (url: string, allow: string[], mode: WebhookConfig['mode'] = 'structured') => {
    const publisher = createWebhookPublisher(hook(url, mode), { allow });
    onTestFinished(() => publisher.close());
    return publisher;
  };

  it('are signed, so that the receiver knows who sent them and when', async () => {
    const receiver = await receiverOfTest();
    await (await open(receiver.url, [receiver.host])).publish([testEvent('n')], alive);
    const [{ headers, body, path } = { headers: {}, body: '', path: '' }] = receiver.deliveries;
    const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
    const expected = createHmac('sha256', SECRET).update(signed).digest('base64');
    expect(headers['webhook-signature']).toBe(`v1,${expected}`);
    expect(headers['webhook-id']).toBe(testEvent('n').id);
    expect(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(60);
    expect(path).toBe('/hook?token=hidden');
  });

  it('go to no private address that is not permitted', async () => {
    const receiver = await receiverOfTest();
    const { accepted, failure } = await (await open(receiver.url, [])).publish([testEvent('n')], alive);
    expect(accepted).toBe(0);
    expect(failure).toMatchObject({ code: 'SinkUnavailable' });
    expect(failure?.message).toContain('not a public address');
    expect(receiver.deliveries).toEqual([]);
  });

  const WAIT = [301, 401, 403, 404, 429, 500, 503].map((status) => ({ status, code: 'SinkUnavailable' }));
  const REFUSE = [400, 406, 409, 413, 415, 422].map((status) => ({ status, code: 'EventRefused' }));
  it.each([...WAIT, ...REFUSE])('are met by $status with $code', async ({ status, code }) => {
    const receiver = await receiverOfTest();
    receiver.answer = status;
    const publisher = await open(receiver.url, [receiver.host]);
    const { accepted, failure } = await publisher.publish([testEvent('n')], alive);
    expect(accepted).toBe(0);
    expect(failure).toMatchObject({ code, key: new URL(receiver.url).origin });
    expect(failure?.message).toContain(`answers ${status}`);
    expect(failure?.message).not.toContain('hidden');
  });

  it('wait no longer for an answer than they may', async () => {
    const receiver = await receiverOfTest();
    const publisher = createWebhookPublisher(
      { ...hook(receiver.url.replace('127.0.0.1', '192.0.2.1'), 'structured'), timeoutMs: 300 },
      { allow: ['192.0.2.0/24'] },
    );
    onTestFinished(() => publisher.close());
    const { failure } = await publisher.publish([testEvent('n')], alive);
    expect(failure).toMatchObject({ code: 'SinkUnavailable' });
  });
});
