import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { describeConfig, loadConfig } from '../../src/infra/config.js';
import { eventSinks } from '../../src/infra/events/index.js';

const SECRET = 'a secret of sixteen';
const events = (env: Record<string, string>) =>
  loadConfig({ env: named(env), cwd: tmpdir(), flags: { dataDir: join(tmpdir(), 'no-stack-here') } }).events;

/** Names without what they all begin with. */
const named = (env: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).map(([name, value]) => [`LONGSHORE_EVENTS_${name}`, value]));

const WEBHOOK = { WEBHOOK_URL: 'https://example.org/hook?token=hidden-word', WEBHOOK_SECRET: SECRET };

describe('sinks of events', () => {
  it('are none unless they are named', () => {
    const none = events({});
    expect(none).toEqual({
      kafka: undefined,
      sqs: undefined,
      webhook: undefined,
      keepMs: 7 * 24 * 3600 * 1000,
    });
    expect([...eventSinks(none, []).keys()]).toEqual([]);
  });

  it('are those that are named, with defaults for the rest', () => {
    const all = events({
      KAFKA_BROKERS: 'one:9092, two:9092',
      SQS_URL: 'https://sqs.eu-west-3.amazonaws.com/1/queue.fifo',
      ...WEBHOOK,
      KEEP: '1d',
    });
    expect(all).toEqual({
      kafka: {
        ...{ brokers: ['one:9092', 'two:9092'], topic: 'longshore.events' },
        ...{ tls: false, ca: undefined, sasl: undefined },
      },
      sqs: {
        url: 'https://sqs.eu-west-3.amazonaws.com/1/queue.fifo',
        ...{ region: 'eu-west-3', accessKeyId: undefined, secretAccessKey: undefined },
      },
      webhook: { url: WEBHOOK.WEBHOOK_URL, secret: SECRET, mode: 'structured', timeoutMs: 10_000 },
      keepMs: 24 * 3600 * 1000,
    });
    expect([...eventSinks(all, []).keys()]).toEqual(['kafka', 'sqs', 'webhook']);
  });

  it('log in to Kafka and trust whom they are told to', () => {
    const folder = mkdtempSync(join(tmpdir(), 'longshore-config-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, 'PEM');
    const { kafka } = events({
      ...{ KAFKA_BROKERS: 'one:9093', KAFKA_TOPIC: 'uploads', KAFKA_CA_FILE: ca },
      ...{ KAFKA_SASL: 'scram-sha-512', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' },
    });
    expect(kafka).toMatchObject({ topic: 'uploads', tls: true, ca: 'PEM' });
    expect(kafka?.sasl).toEqual({ mechanism: 'scram-sha-512', username: 'u', password: 'p' });
  });

  it.each([
    [{ KAFKA_BROKERS: 'nowhere' }, 'KAFKA_BROKERS'],
    [{ KAFKA_BROKERS: 'a:1', KAFKA_TOPIC: 'no topic' }, 'KAFKA_TOPIC'],
    [{ KAFKA_BROKERS: 'a:1', KAFKA_SASL_USERNAME: 'u' }, 'KAFKA_SASL_PASSWORD'],
    [{ KAFKA_BROKERS: 'a:1', KAFKA_SASL_PASSWORD: 'p' }, 'KAFKA_SASL_USERNAME'],
    [{ KAFKA_BROKERS: 'a:1', KAFKA_SASL: 'kerberos' }, 'KAFKA_SASL'],
    [{ KAFKA_BROKERS: 'a:1', KAFKA_CA_FILE: '/nowhere/ca.pem' }, 'KAFKA_CA_FILE'],
    [{ SQS_URL: 'queue' }, 'SQS_URL'],
    [{ SQS_URL: 'https://sqs.example.org/q', SQS_ACCESS_KEY_ID: 'x' }, 'SQS_SECRET_ACCESS_KEY'],
    [{ WEBHOOK_URL: 'ftp://example.org/hidden-word', WEBHOOK_SECRET: SECRET }, 'WEBHOOK_URL'],
    [{ WEBHOOK_URL: 'https://u:hidden-word@example.org/', WEBHOOK_SECRET: SECRET }, 'WEBHOOK_URL'],
    [{ WEBHOOK_URL: WEBHOOK.WEBHOOK_URL }, 'WEBHOOK_SECRET'],
    [{ ...WEBHOOK, WEBHOOK_SECRET: 'hidden-word' }, 'WEBHOOK_SECRET'],
    [{ ...WEBHOOK, WEBHOOK_MODE: 'carrier pigeon' }, 'WEBHOOK_MODE'],
    [{ KEEP: '1s' }, 'KEEP'],
  ] as [Record<string, string>, string][])('are refused as %j', (env, name) => {
    let thrown: unknown;
    try {
      events(env);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: 'InvalidConfig', key: `LONGSHORE_EVENTS_${name}` });
    expect(String((thrown as Error).message)).not.toContain('hidden-word');
  });

  it('show no secrets when they are described', () => {
    const env = named({
      ...{ KAFKA_BROKERS: 'a:1', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'hidden-word' },
      ...{ SQS_URL: 'https://sqs.example.org/q', SQS_ACCESS_KEY_ID: 'x' },
      ...{ SQS_SECRET_ACCESS_KEY: 'hidden-word', ...WEBHOOK, WEBHOOK_SECRET: 'hidden-word-of-length' },
    });
    const config = loadConfig({ env, cwd: tmpdir(), flags: { dataDir: join(tmpdir(), 'no-stack-here') } });
    const shown = JSON.stringify(describeConfig(config));
    expect(shown).not.toContain('hidden-word');
    expect(shown).toContain('https://example.org/…');
  });
});
