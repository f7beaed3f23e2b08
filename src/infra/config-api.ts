/** What the REST API listens on and lets in, and how folders are monitored that do not say it themselves. */
import { isIP } from 'node:net';
import { KiB, MiB } from '../core/limits.js';
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface ApiConfig {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Only callers with a key are answered. Always so off loopback, and behind proxies. */
  readonly keysRequired: boolean;
  /** Bytes of one request's body. */
  readonly bodyLimit: number;
  /** Requests a minute and address; 0: no limit. */
  readonly rate: number;
  /** Streams of events that are open at once. */
  readonly streams: number;
  /** Origins of pages that may call. */
  readonly origins: readonly string[];
  /** Proxies whose X-Forwarded-For counts: addresses or CIDR blocks. */
  readonly trustedProxies: readonly string[];
  /** Folders that requests may name, by name: never the whole host where keys are required. */
  readonly roots: Readonly<Record<string, string>>;
}

export interface MonitorConfig {
  /** Seconds between two looks at a folder. */
  readonly interval: number;
  /** Seconds that a file must have been left alone before a change counts. */
  readonly stability: number;
}

/** Where clients of the file upload service look. */
const DEFAULT_PORT = 8000;

/** `implied`: nobody named the roots; they are those of one person's machine. */
export function readApi(
  settings: Settings,
  roots: { named: ApiConfig['roots'] } | { implied: ApiConfig['roots'] },
): ApiConfig {
  const host =
    settings.read({ flag: 'apiHost', env: ['LONGSHORE_API_HOST'], schema: v.text() }) ?? '127.0.0.1';
  const required = settings.read({ env: ['LONGSHORE_API_KEYS_REQUIRED'], schema: v.boolean() }) ?? false;
  const trustedProxies = settings.read({ env: ['LONGSHORE_API_TRUSTED_PROXIES'], schema: v.list() }) ?? [];
  // A proxy lets others in, whatever address it reaches us by.
  const keysRequired = required || !isLoopback(host) || trustedProxies.length > 0;
  return {
    host,
    port:
      settings.read({ flag: 'apiPort', env: ['LONGSHORE_API_PORT'], schema: v.integer(0, 65_535) }) ??
      DEFAULT_PORT,
    keysRequired,
    bodyLimit: settings.read({ env: ['LONGSHORE_API_BODY_LIMIT'], schema: v.size(KiB, 64 * MiB) }) ?? MiB,
    rate: settings.read({ env: ['LONGSHORE_API_RATE'], schema: v.integer(0, 10_000_000) }) ?? 6_000,
    streams: settings.read({ env: ['LONGSHORE_API_STREAMS'], schema: v.integer(1, 100_000) }) ?? 200,
    origins: settings.read({ env: ['LONGSHORE_API_ORIGINS'], schema: v.list() }) ?? [],
    trustedProxies,
    roots: 'named' in roots ? roots.named : keysRequired ? {} : roots.implied,
  };
}

/** `host` as it is listened on. A name other than localhost may lead anywhere, so it is none. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}

const DAY_S = 24 * 3600;

export function readMonitor(settings: Settings): MonitorConfig {
  return {
    interval: settings.read({ env: ['FILE_MONITOR_INTERVAL'], schema: v.seconds(1, 30 * DAY_S) }) ?? 60,
    stability: settings.read({ env: ['FILE_STABILITY'], schema: v.seconds(0, DAY_S) }) ?? 5,
  };
}
