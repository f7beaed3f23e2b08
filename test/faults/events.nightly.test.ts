/** Kafka is away for ten minutes. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPool } from '../../src/infra/catalog/pool.js';
import { kafkaOutage } from '../helpers/event-outage.js';
import { startTestKafka, type TestKafka } from '../helpers/kafka.js';
import { startRig } from '../helpers/rig.js';
import { startReceiver, type TestReceiver } from '../helpers/webhook.js';

const TOPIC = 'outage';

let kafka: TestKafka;
let webhook: TestReceiver;

beforeAll(async () => {
  kafka = await startTestKafka();
  webhook = await startReceiver();
});
afterAll(async () => {
  await kafka.close();
  await webhook.close();
});

it('loses no event while Kafka is away for ten minutes', async () => {
  await kafka.createTopic(TOPIC);
  const rig = await startRig({
    env: {
      LONGSHORE_EVENTS_KAFKA_BROKERS: kafka.broker,
      LONGSHORE_EVENTS_KAFKA_TOPIC: TOPIC,
      LONGSHORE_EVENTS_WEBHOOK_URL: webhook.url,
      LONGSHORE_EVENTS_WEBHOOK_SECRET: 'a secret of this suite',
      LONGSHORE_URL_ALLOW: webhook.host,
    },
  });
  const pool = createPool(rig.config.postgresUrl ?? '', { max: 2 });
  try {
    const outage = { rig, kafka, topic: TOPIC, webhook, pool };
    const { slowest } = await kafkaOutage({ ...outage, ms: 600_000, uploads: 300 });
    expect(slowest).toBeLessThan(10_000);
  } finally {
    await pool.end();
    await rig.close();
  }
});
