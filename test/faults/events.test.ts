/** Events through outages of Kafka, kills and zombies of workers: at least once, in order, under one id. */
import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { idsOf, kafkaOutage, lagOf } from '../helpers/event-outage.js';
import { faultsOf } from '../helpers/event-schemas.js';
import { readTopic, startTestKafka, type Received, type TestKafka } from '../helpers/kafka.js';
import { longshore, startLongshore, startWorker } from '../helpers/processes.js';
import { quietTemporal } from '../helpers/quiet.js';
import { failureOf, startRig, type Rig } from '../helpers/rig.js';
import { startReceiver, type TestReceiver } from '../helpers/webhook.js';
import { eventually } from '../helpers/wait.js';

const START_MS = 240_000;

let kafka: TestKafka;
let webhook: TestReceiver;

beforeAll(async () => {
  quietTemporal();
  kafka = await startTestKafka();
  webhook = await startReceiver();
}, START_MS);
afterAll(async () => {
  await kafka.close();
  await webhook.close();
});

interface Scene {
  rig: Rig;
  pool: Pool;
  topic: string;
}

/** A rig of the test's own, its relays sending to a topic of its own. */
async function scene(worker: boolean): Promise<Scene> {
  const topic = `t-${randomUUID()}`;
  await kafka.createTopic(topic);
  webhook.deliveries.length = 0;
  const rig = await startRig({
    worker,
    env: {
      LONGSHORE_EVENTS_KAFKA_BROKERS: kafka.broker,
      LONGSHORE_EVENTS_KAFKA_TOPIC: topic,
      LONGSHORE_EVENTS_WEBHOOK_URL: webhook.url,
      LONGSHORE_EVENTS_WEBHOOK_SECRET: 'a secret of this suite',
      LONGSHORE_URL_ALLOW: webhook.host,
    },
  });
  const pool = createPool(rig.config.postgresUrl ?? '', { max: 3 });
  onTestFinished(async () => {
    await pool.end();
    await rig.close();
  });
  return { rig, pool, topic };
}

async function reading(topic: string): Promise<Received[]> {
  const reader = await readTopic(kafka, topic);
  onTestFinished(() => reader.close());
  return reader.received;
}

async function uploaded({ rig }: Scene, bucket: Awaited<ReturnType<Rig['bucket']>>): Promise<string> {
  const { id } = await rig.start(await rig.file(20_000), bucket);
  await rig.client.result(id);
  return id;
}

const eventsOf = (received: readonly Received[], id: string): string[] =>
  received.filter(({ event }) => event.subject === id).map(({ event }) => event.type);

describe('Kafka', () => {
  it('is away while uploads end: they end as ever, other sinks go on, every event arrives after', async () => {
    const { rig, pool, topic } = await scene(true);
    const figures = await kafkaOutage({ rig, kafka, topic, webhook, pool, ms: 12_000, uploads: 12 });
    expect(figures.slowest).toBeLessThan(10_000);
    console.info(
      `slowest upload ${Math.round(figures.slowest)} ms, all there ${Math.round(figures.afterReturn)} ms after`,
    );
  }, 240_000);
});

describe('events of one upload', () => {
  it('come in the order of its runs, and `events tail` shows them', async () => {
    const at = await scene(true);
    const { rig, topic } = at;
    const bucket = await rig.bucket();
    const id = `o-${randomUUID()}`;
    const name = `${id}.bin`;
    const start = () => rig.start({ name }, bucket, { id });
    await start();
    await failureOf(rig.client, id);
    await writeFile(join(rig.folder, name), 'there after all');
    await start();
    await rig.client.result(id);
    await rm(join(rig.folder, name));
    const received = await reading(topic);
    await eventually(() => eventsOf(received, id).length >= 2, { timeout: 30_000 });
    expect(eventsOf(received, id)).toEqual(['upload.failed', 'upload.completed']);
    expect(received.flatMap(({ event }) => faultsOf(event))).toEqual([]);
    const { stdout, code } = await longshore(
      ['events', 'tail', '--from-beginning', '--json', '--type', 'upload.completed', '--max', '1'],
      rig.surroundings,
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(received.at(-1)?.event);
    const sinks = await longshore(['events', 'sinks', '--json'], rig.surroundings);
    expect(JSON.parse(sinks.stdout)).toMatchObject({
      sinks: [{ sink: 'kafka', sent: 2 }, { sink: 'webhook' }],
    });
    const tail = startLongshore(['events', 'tail'], rig.surroundings);
    await tail.said(/Ctrl-C ends/, { timeout: 30_000 });
    const next = await uploaded(at, bucket);
    await tail.said(new RegExp(`upload.completed +${next}`), { timeout: 30_000 });
    tail.signal('SIGINT');
    expect(await tail.exited).toMatchObject({ code: 0 });
  });
});

describe('the worker that relays', () => {
  it('is killed after it has sent and before it wrote that down: the same comes again, under the same id', async () => {
    const at = await scene(false);
    const { rig, pool, topic } = at;
    const received = await reading(topic);
    const first = await startWorker(rig.surroundings);
    const bucket = await rig.bucket();
    await uploaded(at, bucket);
    await eventually(async () => (await lagOf(rig, pool, 'kafka')).waiting === 0, { timeout: 30_000 });
    const hold = await holdSinks(pool);
    const id = await uploaded(at, bucket);
    await eventually(() => eventsOf(received, id).length === 1, {
      timeout: 30_000,
      what: 'the first sending',
    });
    await first.kill('SIGKILL');
    await hold.release();
    await startWorker(rig.surroundings);
    await eventually(() => eventsOf(received, id).length >= 2, {
      timeout: 60_000,
      what: 'the second sending',
    });
    const copies = received.filter(({ event }) => event.subject === id).map(({ event }) => event);
    expect(copies).toEqual([copies[0], copies[0]]);
    await eventually(async () => (await lagOf(rig, pool, 'kafka')).waiting === 0, { timeout: 30_000 });
    expect(new Set(received.map(({ event }) => event.id)).size).toBe(2);
  }, 180_000);

  it('stands still until another has the sink: the late one is fenced, and nothing is lost', async () => {
    const at = await scene(false);
    const { rig, pool, topic } = at;
    const received = await reading(topic);
    const zombie = await startWorker(rig.surroundings);
    const bucket = await rig.bucket();
    const before = await uploaded(at, bucket);
    await eventually(() => eventsOf(received, before).length === 1, { timeout: 30_000 });
    const epoch = await epochOf(pool);
    zombie.signal('SIGSTOP');
    await startWorker(rig.surroundings);
    // Temporal may hand the next attempts to what the stopped worker still asks for: its polls last a minute.
    await eventually(async () => (await epochOf(pool)) > epoch, { timeout: 120_000, what: 'another relay' });
    const meanwhile = await uploaded(at, bucket);
    await eventually(() => eventsOf(received, meanwhile).length === 1, { timeout: 30_000 });
    zombie.signal('SIGCONT');
    const after = await Promise.all([uploaded(at, bucket), uploaded(at, bucket), uploaded(at, bucket)]);
    const all = [before, meanwhile, ...after];
    await eventually(() => all.every((id) => eventsOf(received, id).length >= 1), { timeout: 30_000 });
    await eventually(async () => (await lagOf(rig, pool, 'kafka')).waiting === 0, { timeout: 30_000 });
    expect((await lagOf(rig, pool, 'kafka')).sent).toBe(all.length);
    expect(received.map(({ event }) => event.subject).sort()).toEqual([...all].sort());
    await eventually(() => idsOf(webhook).size === all.length, { timeout: 30_000 });
  }, 300_000);

  it('stops when it is told to, without waiting for the end of a go', async () => {
    const { rig } = await scene(false);
    const worker = await startWorker(rig.surroundings);
    await eventually(async () => {
      const { pendingActivities } = (await rig.temporal.client.workflow.getHandle('relay/kafka').describe())
        .raw;
      return pendingActivities?.length === 1;
    });
    const began = performance.now();
    worker.signal('SIGTERM');
    expect(await worker.exited).toMatchObject({ code: 0 });
    expect(performance.now() - began).toBeLessThan(6_000);
  }, 120_000);
});

async function epochOf(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ epoch: string }>(`SELECT epoch FROM event_sinks WHERE name = 'kafka'`);
  return Number(rows[0]?.epoch ?? 0);
}

/**
 * While it is held no relay can move a cursor, but each can read: the lock of a row would have a transaction number, and
 * nothing that commits after it would be read. Released, those that wait for it are gone, as their worker is.
 */
async function holdSinks(pool: Pool): Promise<{ release(): Promise<void> }> {
  const client: pg.PoolClient = await pool.connect();
  await client.query('BEGIN');
  await client.query('LOCK TABLE event_sinks IN SHARE MODE');
  let released: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    await client.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))',
    );
    await client.query('ROLLBACK');
    client.release();
  };
  const once = (): Promise<void> => (released ??= release());
  onTestFinished(once);
  return { release: once };
}
