/** The relay with a webhook, which sends several events at once: what its receiver says to one is no harm to the others. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createRelayActivities, type RelayPace } from '../../src/activities/relay.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { appendEvent, sinkLags } from '../../src/infra/catalog/outbox.js';
import { createWebhookPublisher } from '../../src/infra/events/webhook.js';
import { testEvent, untilReadable } from '../helpers/events.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { quietTemporal } from '../helpers/quiet.js';
import { startReceiver, type Delivery, type TestReceiver } from '../helpers/webhook.js';
import { eventually } from '../helpers/wait.js';

const HERE = 'here';

let db: TestSchema;
let receiver: TestReceiver;
/** Requests for each event, by its number. */
let asked: number[];
/** What the receiver answers to each event. */
let statusOf: (n: number) => number;

beforeAll(quietTemporal);
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
  receiver = await startReceiver();
  asked = [];
  statusOf = () => 204;
  receiver.answer = (delivery) => {
    const n = numberOf(delivery);
    asked[n] = (asked[n] ?? 0) + 1;
    return statusOf(n);
  };
});
afterEach(async () => {
  await receiver.close();
  await db.drop();
});

/** Events of a subject each, so that several of them are sent at once. */
async function fill(count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await appendEvent(db.pool, HERE, testEvent(`node-${n}`));
  await untilReadable(db.pool, count);
}

function numberOf({ body }: Delivery): number {
  return Number(/"subject":"node-(\d+)"/.exec(body)?.[1]);
}

/** A go that is told to stop once something has come about. */
async function goUntil(what: () => boolean | Promise<boolean>, pace: Partial<RelayPace> = {}): Promise<void> {
  const stopping = new AbortController();
  const publisher = () =>
    createWebhookPublisher(
      { url: receiver.url, mode: 'structured', secret: 'a secret of this suite', timeoutMs: 5_000 },
      { allow: [receiver.host] },
    );
  const silent = (): void => undefined;
  const { relayEvents } = createRelayActivities({
    ...{ db: db.pool, installation: HERE, keepMs: 24 * 3600 * 1000, stopping: stopping.signal },
    sinks: new Map([['webhook', publisher]]),
    log: { info: silent, warn: silent, error: silent } as never,
    pace: { goMs: 60_000, pollMs: 20, firstWaitMs: 10, longestWaitMs: 50, ...pace },
  });
  const environment = new MockActivityEnvironment({ heartbeatTimeoutMs: 60_000 });
  const going = environment.run(relayEvents, { sink: 'webhook' as const });
  try {
    await eventually(what, { timeout: 30_000 });
  } finally {
    stopping.abort();
    await going;
  }
}

const isThrough = async (): Promise<boolean> => (await sinkLags(db.pool, HERE))[0]?.waiting === 0;

async function laidAside(): Promise<number[]> {
  const { rows } = await db.pool.query<{ subject: string }>('SELECT subject FROM event_dead_letters');
  return rows.map(({ subject }) => Number(subject.slice('node-'.length))).sort((a, b) => a - b);
}

/** In the order of their numbers, whatever order they came in. */
const had = (): number[] => receiver.deliveries.map(numberOf).sort((a, b) => a - b);

it.each([400, 406, 409])(
  'an event that is answered %d is laid aside, and the others go on',
  async (status) => {
    await fill(12);
    statusOf = (n) => (n === 2 ? status : 204);
    await goUntil(isThrough);
    expect(await laidAside()).toEqual([2]);
    expect(asked[2]).toBe(5);
    // Those that were sent at once with it come once more, not once for each try.
    expect(had()).toEqual([0, 1, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11]);
  },
);

it('an event that is waited for has its neighbours sent once more, however often it is tried', async () => {
  await fill(5);
  statusOf = (n) => (n === 1 ? 503 : 204);
  await goUntil(() => (asked[1] ?? 0) >= 4);
  // Neither does a go that begins anew repeat them.
  await goUntil(() => (asked[1] ?? 0) >= 8);
  expect(had()).toEqual([0, 2, 3, 4]);
  statusOf = () => 204;
  await goUntil(isThrough);
  expect(had()).toEqual([0, 1, 2, 2, 3, 3, 4, 4]);
});

it('one bad event too many in a row waits alone, until a person lets it be laid aside', async () => {
  await fill(8);
  const bad = [1, 2, 3, 4];
  statusOf = (n) => (bad.includes(n) ? 400 : 204);
  const isAway = async (): Promise<boolean> => {
    const [lag] = await sinkLags(db.pool, HERE);
    return typeof lag?.awaySince === 'string';
  };
  const pace = { mostRefusals: 2 };
  await goUntil(async () => (await isAway()) && (asked[4] ?? 0) >= 6, pace);
  const before = asked[4] ?? 0;
  await goUntil(() => (asked[4] ?? 0) >= before + 3, pace);
  expect(await laidAside()).toEqual([1, 2, 3]);
  expect(had()).toEqual([0, 5, 6, 7]);
  await db.pool.query(
    `UPDATE event_sinks SET laid_aside = 0, epoch = epoch + 1 WHERE installation = $1 AND name = 'webhook'`,
    [HERE],
  );
  await goUntil(isThrough, pace);
  expect(await laidAside()).toEqual(bad);
  expect(had()).toEqual([0, 5, 5, 6, 6, 7, 7]);
});

it('a receiver that cannot check signatures has few events laid aside, and all the others when it can', async () => {
  await fill(6);
  statusOf = () => 400;
  await goUntil(() => (asked[3] ?? 0) >= 8);
  expect(await laidAside()).toEqual([0, 1, 2]);
  expect(asked.slice(4)).toEqual([]);
  statusOf = () => 204;
  await goUntil(isThrough);
  expect(had()).toEqual([3, 4, 5]);
  expect(await laidAside()).toEqual([0, 1, 2]);
});
