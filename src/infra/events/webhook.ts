/**
 * Events to an HTTP address, one request each, signed as Standard Webhooks have it: `webhook-signature` is
 * `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. The address is asked for as the
 * sources of uploads are: a private one is refused unless configuration permits it, and no redirect is followed.
 */
import { createHmac } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import { Agent } from 'undici';
import { LongshoreError } from '../../core/errors.js';
import type { CloudEvent } from '../../core/events.js';
import type { WebhookConfig } from '../config-events.js';
import { addressPolicy, guardedConnector } from '../sources/url-guard.js';
import { CLOUDEVENT_JSON, firstOfEach, inWaves, type EventPublisher, type Published } from './publisher.js';

/** Requests at once, each of another subject. */
const AT_ONCE = 8;
const CONNECT_MS = 5_000;
const MOST_SAID = 200;

export interface WebhookSettings {
  /** Private addresses that may be asked, as `LONGSHORE_URL_ALLOW` has them. */
  allow: readonly string[];
  /** Replaceable in tests. */
  lookup?: LookupFunction | undefined;
  ca?: string | undefined;
  now?: () => number;
}

export function createWebhookPublisher(config: WebhookConfig, settings: WebhookSettings): EventPublisher {
  return new WebhookPublisher(config, settings);
}

class WebhookPublisher implements EventPublisher {
  readonly sink = 'webhook';
  readonly #agent: Agent;
  readonly #address: URL;

  constructor(
    private readonly config: WebhookConfig,
    private readonly settings: WebhookSettings,
  ) {
    this.#address = new URL(config.url);
    const { lookup, ca } = settings;
    const connect = guardedConnector(addressPolicy(settings.allow), {
      connectTimeoutMs: CONNECT_MS,
      lookup,
      ca,
    });
    const { timeoutMs } = config;
    this.#agent = new Agent({
      connect,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connections: AT_ONCE,
    });
  }

  async publish(events: readonly CloudEvent[], signal: AbortSignal): Promise<Published> {
    return await inWaves(
      events,
      (rest) => firstOfEach(rest, AT_ONCE),
      (wave) => Promise.all(wave.map((event) => this.#send(event, signal))),
    );
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #send(event: CloudEvent, signal: AbortSignal): Promise<LongshoreError | undefined> {
    const { headers, body } = this.config.mode === 'binary' ? binary(event) : structured(event);
    const limit = AbortSignal.any([signal, AbortSignal.timeout(this.config.timeoutMs)]);
    const { origin, pathname, search } = this.#address;
    try {
      const answer = await this.#agent.request({
        ...{ origin, path: pathname + search, method: 'POST', body, signal: limit },
        headers: { ...headers, 'user-agent': 'longshore', ...this.#signature(event.id, body) },
      });
      const said = (await answer.body.text()).slice(0, MOST_SAID);
      return this.#failureOf(answer.statusCode, said);
    } catch (error) {
      return this.#unavailable(error instanceof Error ? error.message : String(error), error);
    }
  }

  #signature(id: string, body: string): Record<string, string> {
    const timestamp = Math.floor((this.settings.now?.() ?? Date.now()) / 1000);
    return {
      'webhook-id': id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': signWebhook(this.config.secret, { id, timestamp, body }),
    };
  }

  /** Who answers that the address or the rights are wrong says nothing about the event: a person repairs that. */
  #failureOf(status: number, said: string): LongshoreError | undefined {
    if (status >= 200 && status < 300) return undefined;
    const message = `answers ${status}${said === '' ? '' : `: ${said}`}`;
    if (!REFUSALS.has(status)) return this.#unavailable(message);
    const key = this.#address.origin;
    return new LongshoreError('EventRefused', `the webhook ${message}`, { op: 'publish', key });
  }

  /** Of the address only the origin is shown: the rest may be a secret. */
  #unavailable(said: string, cause?: unknown): LongshoreError {
    const key = this.#address.origin;
    return new LongshoreError('SinkUnavailable', `the webhook ${said}`, { op: 'publish', key, cause });
  }
}

/**
 * What a receiver says of an event. Some answer 400 to a signature that they cannot check too; waiting at it would stop
 * the sink at one bad event, and of what a wrong secret makes them refuse the relay lays no more aside than a few.
 */
const REFUSALS: ReadonlySet<number> = new Set([400, 406, 409, 413, 415, 422]);

interface Sending {
  headers: Record<string, string>;
  body: string;
}

function structured(event: CloudEvent): Sending {
  return { headers: { 'content-type': CLOUDEVENT_JSON }, body: JSON.stringify(event) };
}

function binary({ data, ...attributes }: CloudEvent): Sending {
  const { datacontenttype, ...rest } = attributes;
  const named = Object.entries(rest).map(([name, value]) => [`ce-${name}`, headerText(value)]);
  return {
    headers: { 'content-type': datacontenttype, ...(Object.fromEntries(named) as Record<string, string>) },
    body: JSON.stringify(data),
  };
}

/** CloudEvents: what is no printable ASCII, and `"` and `%`, is percent-encoded in UTF-8. */
function headerText(value: string): string {
  return value.replace(/[^\x21\x23\x24\x26-\x7e]+/gu, (text) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

/** A secret of `whsec_` and base64 is the bytes that it stands for. */
export function signWebhook(
  secret: string,
  { id, timestamp, body }: { id: string; timestamp: number; body: string },
): string {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1];
  const key = encoded === undefined ? Buffer.from(secret) : Buffer.from(encoded, 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}
