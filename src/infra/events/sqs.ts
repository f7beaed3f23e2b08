/** Events on an SQS queue. A FIFO queue keeps those of one subject in order; a standard queue keeps no order at all. */
import { createHash } from 'node:crypto';
import type { SendMessageBatchRequestEntry, SQSClient } from '@aws-sdk/client-sqs';
import { LongshoreError } from '../../core/errors.js';
import type { CloudEvent } from '../../core/events.js';
import type { SqsConfig } from '../config-events.js';
import { createCredentialSource } from '../s3/credentials.js';
import { firstOfEach, inWaves, type EventPublisher, type Published } from './publisher.js';

/** Amazon SQS: ten messages a batch. */
const BATCH_MESSAGES = 10;
/** Amazon SQS, and others like it: all messages of a batch together. */
const BATCH_BYTES = 256 * 1024;
const CONNECT_MS = 5_000;
const REQUEST_MS = 15_000;

export function createSqsPublisher(config: SqsConfig): EventPublisher {
  return new SqsPublisher(config);
}

class SqsPublisher implements EventPublisher {
  readonly sink = 'sqs';
  readonly #fifo: boolean;
  #client: Promise<SQSClient> | undefined;

  constructor(private readonly config: SqsConfig) {
    this.#fifo = new URL(config.url).pathname.endsWith('.fifo');
  }

  async publish(events: readonly CloudEvent[], signal: AbortSignal): Promise<Published> {
    return await inWaves(events, nextBatch, (wave) => this.#send(wave, signal));
  }

  async close(): Promise<void> {
    const client = await this.#client;
    client?.destroy();
  }

  async #send(wave: readonly CloudEvent[], signal: AbortSignal): Promise<(LongshoreError | undefined)[]> {
    try {
      const { SendMessageBatchCommand } = await import('@aws-sdk/client-sqs');
      const client = await (this.#client ??= open(this.config));
      const entries = wave.map((event, index) => this.#entry(event, index));
      const request = new SendMessageBatchCommand({ QueueUrl: this.config.url, Entries: entries });
      const { Failed = [] } = await client.send(request, { abortSignal: signal });
      const failures = new Map(Failed.map((entry) => [entry.Id, entry]));
      return wave.map((_event, index) => {
        const failed = failures.get(String(index));
        if (failed === undefined) return undefined;
        const said = `${failed.Code ?? 'Failed'}: ${failed.Message ?? 'no reason is given'}`;
        return failed.SenderFault === true ? this.#refused(said) : this.#unavailable(said);
      });
    } catch (error) {
      if (wave.length > 1 && isContentFault(error)) return await this.#oneByOne(wave, signal);
      const failure = this.#failureOf(error);
      return wave.map(() => failure);
    }
  }

  #entry(event: CloudEvent, index: number): SendMessageBatchRequestEntry {
    const body = JSON.stringify(event);
    const attribute = (value: string) => ({ DataType: 'String', StringValue: value });
    return {
      Id: String(index),
      MessageBody: body,
      MessageAttributes: {
        'content-type': attribute('application/cloudevents+json'),
        'ce-id': attribute(event.id),
        'ce-type': attribute(event.type),
        'ce-subject': attribute(event.subject),
      },
      ...(this.#fifo
        ? { MessageGroupId: short(event.subject), MessageDeduplicationId: short(event.id) }
        : {}),
    };
  }

  /** A batch can be refused for one of its messages without a word of which. */
  async #oneByOne(wave: readonly CloudEvent[], signal: AbortSignal): Promise<(LongshoreError | undefined)[]> {
    const failures: (LongshoreError | undefined)[] = [];
    for (const event of wave) failures.push(...(await this.#send([event], signal)));
    return failures;
  }

  #failureOf(error: unknown): LongshoreError {
    const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return isContentFault(error) ? this.#refused(said, error) : this.#unavailable(said, error);
  }

  #refused(said: string, cause?: unknown): LongshoreError {
    const key = new URL(this.config.url).pathname;
    return new LongshoreError('EventRefused', `SQS refuses an event: ${said}`, { op: 'publish', key, cause });
  }

  #unavailable(said: string, cause?: unknown): LongshoreError {
    const key = new URL(this.config.url).pathname;
    const message = `SQS does not take events: ${said}`;
    return new LongshoreError('SinkUnavailable', message, { op: 'publish', key, cause });
  }
}

const CONTENT_FAULTS = ['InvalidMessageContents', 'BatchRequestTooLong', 'MessageTooLong'];

function isContentFault(error: unknown): boolean {
  return (
    error instanceof Error && CONTENT_FAULTS.some((fault) => `${error.name} ${error.message}`.includes(fault))
  );
}

async function open(config: SqsConfig): Promise<SQSClient> {
  const { SQSClient: Client } = await import('@aws-sdk/client-sqs');
  const { accessKeyId, secretAccessKey, region, url } = config;
  return new Client({
    region,
    endpoint: new URL(url).origin,
    useQueueUrlAsEndpoint: false,
    credentials: createCredentialSource({ accessKeyId, secretAccessKey }),
    maxAttempts: 2,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: REQUEST_MS,
      throwOnRequestTimeout: true,
    },
  });
}

/** No subject twice, so that of a batch that is taken in part nothing is out of order; and not too large. */
function nextBatch(rest: readonly CloudEvent[]): CloudEvent[] {
  const batch = firstOfEach(rest, BATCH_MESSAGES);
  let bytes = 0;
  // What the attributes take counts too.
  const fits = batch.findIndex(
    (event) => (bytes += Buffer.byteLength(JSON.stringify(event)) + ATTRIBUTES) > BATCH_BYTES,
  );
  return fits === -1 ? batch : batch.slice(0, Math.max(1, fits));
}

const ATTRIBUTES = 1024;

/** Groups and deduplication ids have at most 128 characters. */
function short(id: string): string {
  return /^[\x21-\x7e]{1,128}$/.test(id) ? id : createHash('sha256').update(id).digest('hex');
}
