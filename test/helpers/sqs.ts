/** ElasticMQ, a real SQS server, for one suite. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  ListQueuesCommand,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import type { CloudEvent } from '../../src/core/events.js';
import { startGuard } from '../../src/dev/guard.js';
import { launch, serverEnvironment, untilReady } from '../../src/dev/parts/part.js';
import { pickPort } from '../../src/dev/ports.js';
import { provision } from '../../src/dev/provision.js';
import type { SqsConfig } from '../../src/infra/config-events.js';
import { registerProcess } from './registry.js';
import { say } from './test-stack.js';

export interface TestSqs {
  client: SQSClient;
  /** A name that ends in `.fifo` makes a FIFO queue. */
  createQueue(name: string): Promise<SqsConfig>;
  /** All that is on the queue, taken from it in its order. */
  drain(config: SqsConfig): Promise<CloudEvent[]>;
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const KEYS = { accessKeyId: 'x', secretAccessKey: 'x' };

export async function startTestSqs(): Promise<TestSqs> {
  const command = await provision('elasticmq', { env: process.env, log: say });
  const folder = await mkdtemp(join(tmpdir(), 'longshore-sqs-'));
  const port = await pickPort();
  const endpoint = `http://127.0.0.1:${port}`;
  const settings = join(folder, 'elasticmq.conf');
  await writeFile(settings, settingsOf(port));
  const guard = startGuard();
  const client = new SQSClient({
    endpoint,
    region: 'us-east-1',
    credentials: KEYS,
    maxAttempts: 1,
    useQueueUrlAsEndpoint: false,
  });
  const start = () => {
    const part = launch({
      ...{ name: 'elasticmq', command, args: [], guard, cwd: folder },
      ...{ logFile: join(folder, 'elasticmq.log'), stopSignal: 'SIGTERM', graceMs: 10_000 },
      env: {
        ...serverEnvironment(process.env),
        JDK_JAVA_OPTIONS: `-Xmx256m -Xms32m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dconfig.file=${settings}`,
      },
    });
    registerProcess(part.pid, 'elasticmq');
    return part;
  };
  const ready = async (part: ReturnType<typeof start>): Promise<void> => {
    const probe = async (): Promise<void> => void (await client.send(new ListQueuesCommand({})));
    await untilReady(part, probe, { timeoutMs: 90_000 });
  };
  let part = start();
  await ready(part);
  return {
    client,
    createQueue: async (name) => {
      const fifo = name.endsWith('.fifo');
      const attributes = fifo ? { FifoQueue: 'true' } : {};
      const { QueueUrl } = await client.send(
        new CreateQueueCommand({ QueueName: name, Attributes: attributes }),
      );
      return { url: QueueUrl ?? '', region: 'us-east-1', ...KEYS };
    },
    drain: (config) => drain(client, config),
    stop: () => part.stop(),
    start: async () => {
      part = start();
      await ready(part);
    },
    close: async () => {
      client.destroy();
      await part.stop();
      await guard.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function settingsOf(port: number): string {
  return `include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = ${port}, context-path = "" }
rest-sqs { enabled = true, bind-port = ${port}, bind-hostname = "127.0.0.1", sqs-limits = strict }
rest-stats { enabled = false }
`;
}

async function drain(client: SQSClient, { url }: SqsConfig): Promise<CloudEvent[]> {
  const events: CloudEvent[] = [];
  for (;;) {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({ QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }),
    );
    if (Messages.length === 0) return events;
    for (const { Body = '', ReceiptHandle } of Messages) {
      events.push(JSON.parse(Body) as CloudEvent);
      await client.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle }));
    }
  }
}
