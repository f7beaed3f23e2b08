/** A Kafka broker in KRaft mode for one suite: stopped and started again on the same port and folder. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Kafka } from 'kafkajs';
import type { CloudEvent } from '../../src/core/events.js';
import { startGuard } from '../../src/dev/guard.js';
import { launch, serverEnvironment, untilReady, type Part } from '../../src/dev/parts/part.js';
import { pickPorts } from '../../src/dev/ports.js';
import { provision } from '../../src/dev/provision.js';
import { openKafka } from '../../src/infra/events/kafka.js';
import type { KafkaConfig } from '../../src/infra/config-events.js';
import { registerProcess } from './registry.js';
import { say } from './test-stack.js';

export interface TestKafka {
  broker: string;
  config(topic: string): KafkaConfig;
  client(): Promise<Kafka>;
  createTopic(topic: string, options?: { partitions?: number; maxBytes?: number }): Promise<void>;
  /** `kill`: as a power cut. */
  stop(how?: 'stop' | 'kill'): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const READY_MS = 90_000;
const HEAP = '-Xmx512m -Xms64m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC';

export async function startTestKafka(): Promise<TestKafka> {
  const command = await provision('kafka', { env: process.env, log: say });
  const folder = await mkdtemp(join(tmpdir(), 'longshore-kafka-'));
  const [port = 0, controllerPort = 0] = await pickPorts([[], []]);
  const settings = join(folder, 'server.properties');
  await writeFile(settings, propertiesOf(folder, port, controllerPort));
  const env = { ...serverEnvironment(process.env), JDK_JAVA_OPTIONS: HEAP };
  const id = randomBytes(16).toString('base64url');
  await promisify(execFile)(
    command,
    ['kafka.tools.StorageTool', 'format', `--cluster-id=${id}`, '-c', settings],
    {
      env,
      timeout: READY_MS,
    },
  );
  const guard = startGuard();
  const broker = `127.0.0.1:${port}`;
  const config = (topic: string): KafkaConfig => ({
    ...{ brokers: [broker], topic, tls: false, ca: undefined, sasl: undefined },
  });
  const client = (): Promise<Kafka> => openKafka(config('unused'), 'longshore-test');
  let part: Part | undefined;
  const start = async (): Promise<void> => {
    part = launch({
      ...{ name: 'kafka', command, args: ['kafka.Kafka', settings], env, guard },
      ...{ logFile: join(folder, 'kafka.log'), stopSignal: 'SIGTERM', graceMs: 20_000, cwd: folder },
    });
    registerProcess(part.pid, 'kafka');
    await untilReady(part, () => answers(client), { timeoutMs: READY_MS });
  };
  const stop: TestKafka['stop'] = async (how = 'stop') => {
    if (how === 'kill') part?.kill();
    await part?.stop();
    part = undefined;
  };
  await mkdir(join(folder, 'data'), { recursive: true });
  await start();
  return {
    ...{ broker, config, client, start, stop },
    createTopic: (topic, options) => createTopic(client, topic, options),
    close: async () => {
      await stop();
      await guard.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function propertiesOf(folder: string, port: number, controllerPort: number): string {
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': join(folder, 'data'),
    'num.partitions': 3,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    'log.cleaner.enable': false,
    'num.network.threads': 2,
    'num.io.threads': 2,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

async function answers(client: () => Promise<Kafka>): Promise<void> {
  const admin = (await client()).admin();
  try {
    await admin.connect();
    await admin.listTopics();
  } finally {
    await admin.disconnect();
  }
}

async function createTopic(
  client: () => Promise<Kafka>,
  topic: string,
  { partitions = 3, maxBytes }: { partitions?: number; maxBytes?: number } = {},
): Promise<void> {
  const admin = (await client()).admin();
  await admin.connect();
  try {
    const configEntries =
      maxBytes === undefined ? [] : [{ name: 'max.message.bytes', value: String(maxBytes) }];
    await admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
    });
  } finally {
    await admin.disconnect();
  }
}

export interface Received {
  event: CloudEvent;
  key: string;
  partition: number;
  contentType: string;
}

/** Everything that is on a topic, from its beginning, and what comes while the suite runs. */
export async function readTopic(
  kafka: TestKafka,
  topic: string,
): Promise<{ received: Received[]; close(): Promise<void> }> {
  const consumer = (await kafka.client()).consumer({
    groupId: `t-${randomBytes(6).toString('hex')}`,
    // It lives on while the broker is down.
    retry: { retries: 1_000, initialRetryTime: 200, maxRetryTime: 1_000 },
  });
  const received: Received[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: ({ partition, message: { key, value, headers } }) => {
      received.push({
        event: JSON.parse(String(value)) as CloudEvent,
        key: String(key),
        partition,
        contentType: String(headers?.['content-type']),
      });
      return Promise.resolve();
    },
  });
  return { received, close: () => consumer.disconnect() };
}
