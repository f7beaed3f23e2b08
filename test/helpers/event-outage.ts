/** Kafka is stopped while uploads go on: for seconds in every run, for minutes in the nightly one. */
import { expect } from 'vitest';
import { sinkLags } from '../../src/infra/catalog/outbox.js';
import { faultsOf } from './event-schemas.js';
import { readTopic, type TestKafka } from './kafka.js';
import type { TestSchema } from './postgres.js';
import type { Rig } from './rig.js';
import type { TestReceiver } from './webhook.js';
import { eventually } from './wait.js';

export interface Outage {
  rig: Rig;
  kafka: TestKafka;
  topic: string;
  webhook: TestReceiver;
  pool: TestSchema['pool'];
  /** How long Kafka is away, ms, and how many uploads end in that time. */
  ms: number;
  uploads: number;
}

const SMALL = 20_000;

/** What the outage cost; throws when anything is lost, late without need, or changed. */
export async function kafkaOutage(outage: Outage): Promise<{ slowest: number; afterReturn: number }> {
  const { rig, kafka, topic, webhook, pool, ms, uploads } = outage;
  const bucket = await rig.bucket();
  const before = await complete(outage, bucket);
  await eventually(async () => (await lagOf(rig, pool, 'kafka')).waiting === 0, { timeout: 30_000 });
  await kafka.stop('kill');
  const stopped = performance.now();
  const done: string[] = [before.id];
  let slowest = 0;
  for (let n = 0; n < uploads; n += 1) {
    const { id, took } = await complete(outage, bucket);
    done.push(id);
    slowest = Math.max(slowest, took);
    const due = stopped + (ms * (n + 1)) / uploads;
    await eventually(() => performance.now() >= due, { timeout: ms + 1_000 });
  }
  const away = await lagOf(rig, pool, 'kafka');
  expect(away.waiting).toBe(uploads);
  expect(away.awaySince).not.toBeNull();
  // The other sink has had them all meanwhile.
  await eventually(() => idsOf(webhook).size >= done.length, {
    timeout: 20_000,
    what: 'the webhook’s events',
  });
  await kafka.start();
  const returned = performance.now();
  const reader = await readTopic(kafka, topic);
  try {
    const expected = done.map((id) => `upload/${id}/`);
    await eventually(
      () => expected.every((start) => reader.received.some(({ event }) => event.id.startsWith(start))),
      { timeout: 60_000, what: 'every event on the topic' },
    );
    const afterReturn = performance.now() - returned;
    const events = reader.received.map(({ event }) => event);
    expect(events.flatMap(faultsOf)).toEqual([]);
    expect(new Set(events.map(({ id }) => id)).size).toBe(done.length);
    const sameThere = webhook.deliveries.map(({ body }) => body);
    for (const event of events) expect(sameThere).toContain(JSON.stringify(event));
    return { slowest, afterReturn };
  } finally {
    await reader.close();
  }
}

async function complete({ rig }: Outage, bucket: Awaited<ReturnType<Rig['bucket']>>) {
  const began = performance.now();
  const { id } = await rig.start(await rig.file(SMALL), bucket);
  await rig.client.result(id);
  return { id, took: performance.now() - began };
}

export async function lagOf({ config }: Pick<Rig, 'config'>, pool: TestSchema['pool'], sink: string) {
  const lag = (await sinkLags(pool, config.installation)).find((each) => each.sink === sink);
  if (lag === undefined) throw new Error(`there is no sink ${sink} yet`);
  return lag;
}

export function idsOf({ deliveries }: TestReceiver): Set<string> {
  return new Set(deliveries.map(({ headers }) => String(headers['webhook-id'])));
}
