/** The one place that reads the environment. `loadConfig` merges flag > environment > `.longshore/dev.json` > default, once, and freezes it. */
import { join } from 'node:path';
import type { ConnectionOptions } from '@temporalio/client';
import {
  DEFAULT_CONCURRENCY,
  DEFAULT_MULTIPART_THRESHOLD,
  DEFAULT_PART_SIZE,
  GiB,
  MAX_CONCURRENCY,
  MAX_OBJECT_SIZE,
  MAX_BUFFERED_PART,
  MAX_PART_SIZE,
  MAX_PARTS,
  MIN_PART_SIZE,
  MiB,
} from '../core/limits.js';
import { S3_PROFILE } from '../core/part-plan.js';
import type { ServerProfile } from '../core/part-plan.js';
import type { Encryption, UploadOptions } from '../core/uploads.js';
import { readApi, readMonitor } from './config-api.js';
import type { ApiConfig, MonitorConfig } from './config-api.js';
import { findDataDir, readDevState } from './config-dev.js';
import type { DevState } from './config-dev.js';
import { describeEvents, readEvents, type EventsConfig } from './config-events.js';
import { DEV_STATE_FILE } from './dev-state.js';
import { readRemote, type RemoteConfig } from './config-remote.js';
import { readKms } from './config-keys.js';
import { readMaintenance, type MaintenanceConfig } from './config-maintenance.js';
import { awsKeys, readPostgres, readS3, readStores, readTemporal } from './config-parts.js';
import { readSessions, type SessionsConfig } from './config-sessions.js';
import { hidePassword, Settings } from './config-settings.js';
import type { ConfigFlags, Environment } from './config-settings.js';
import type { KmsConfig } from './keys/kms-wrapping.js';
import { readTelemetry, type TelemetryConfig } from './config-telemetry.js';
import * as v from './config-values.js';
import type { StoreConfig } from './s3/store.js';

export type { ConfigFlags } from './config-settings.js';
export { formatSize, parseSize, parseTime } from './config-values.js';

export interface Config {
  /** Absolute; holds `dev.json`. */
  readonly dataDir: string;
  /** `dev.json`, when there is one. */
  readonly devFile: string | undefined;
  /** What was found and not used, for people to read. */
  readonly warnings: readonly string[];
  /** Who owns rows and multipart uploads: stable over restarts. */
  readonly installation: string;
  readonly logLevel: string;
  readonly temporal: TemporalConfig;
  readonly s3: StoreConfig;
  /** Other stores that `object` sources may name. */
  readonly stores: Readonly<Record<string, StoreConfig>>;
  readonly serverProfile: ServerProfile;
  readonly postgresUrl: string | undefined;
  readonly roots: Readonly<Record<string, string>>;
  readonly url: UrlConfig;
  readonly upload: UploadDefaults;
  /** The part of `upload` that somebody set. */
  readonly uploadAsked: UploadAsked;
  readonly worker: WorkerConfig;
  readonly api: ApiConfig;
  readonly sessions: SessionsConfig;
  readonly maintenance: MaintenanceConfig;
  /** The API that commands send bytes to; undefined when none is known. */
  readonly remote: RemoteConfig | undefined;
  readonly monitor: MonitorConfig;
  readonly telemetry: TelemetryConfig;
  readonly events: EventsConfig;
  /** 32 bytes, base64: seals addresses that are secrets, and customers' keys where AWS KMS does not. */
  readonly sealingKey: string | undefined;
  /** Wraps customers' keys. */
  readonly kms: KmsConfig | undefined;
}

export interface TemporalConfig {
  readonly address: string;
  readonly namespace: string;
  /** Base of the Web UI, without a slash at its end; undefined when unknown. */
  readonly ui: string | undefined;
  readonly apiKey: string | undefined;
  /** With `address`, `apiKey` and `metadata` what `Connection.connect` and `NativeConnection.connect` take. */
  readonly tls: ConnectionOptions['tls'];
  readonly metadata: Readonly<Record<string, string>> | undefined;
}

export interface UrlConfig {
  /** CIDR blocks or host names that may be fetched although they are private (`LONGSHORE_URL_ALLOW`). */
  readonly allow: readonly string[];
  /** Bytes. */
  readonly maxSize: number;
  /** Whole transfer of one request, ms. */
  readonly timeoutMs: number;
  readonly maxRedirects: number;
}

export interface UploadDefaults {
  readonly partSize: number;
  readonly concurrency: number;
  readonly threshold: number;
  readonly encryption: Encryption | undefined;
  /** Largest object expected from a source without a length, bytes. */
  readonly expectedMax: number;
}

/** As options of an upload that this command starts. */
export type UploadAsked = Readonly<Pick<UploadOptions, 'partSize' | 'concurrency' | 'encryption'>>;

export interface WorkerConfig {
  /** Bytes that transfer activities may hold in buffers; slots follow from it. */
  readonly memoryBudget: number;
  /** `WORKER_CONCURRENCY`: overrides the number of slots. */
  readonly concurrency: number | undefined;
  readonly shutdownGraceMs: number;
  readonly healthPort: number | undefined;
  readonly healthHost: string;
}

export interface ConfigInput {
  flags?: ConfigFlags;
  env?: Environment;
  cwd?: string;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const DAY_MS = 24 * 3600 * 1000;
const TiB = 1024 * GiB;

/** Throws InvalidConfig, naming the variable or flag, its value (hidden when secret) and what is allowed. */
export function loadConfig({ flags = {}, env = process.env, cwd = process.cwd() }: ConfigInput = {}): Config {
  const settings = new Settings(flags, env);
  const asked = settings.read({ flag: 'dataDir', env: ['LONGSHORE_DATA_DIR'], schema: v.text() });
  const dataDir = findDataDir(asked, cwd, settings);
  const dev = readDevState(dataDir);
  if (dev?.status === 'stopped')
    settings.warnings.push(`the stack of ${dataDir} is stopped; \`longshore dev\` starts it`);
  const temporal = readTemporal(settings, dev);
  // The stack of this folder is in use only when its Temporal is: another cluster must not get its rights.
  const devInUse = dev?.temporal?.address === temporal.address ? dev : undefined;
  const uploadAsked = readUploadAsked(settings);
  const roots = readRoots(settings, devInUse);
  const sessions = readSessions(settings, devInUse !== undefined);
  return deepFreeze({
    dataDir,
    devFile: dev === undefined ? undefined : join(dataDir, DEV_STATE_FILE),
    installation: readInstallation(settings, devInUse),
    logLevel:
      settings.read({ flag: 'logLevel', env: ['LONGSHORE_LOG_LEVEL'], schema: v.oneOf(...LOG_LEVELS) }) ??
      'info',
    temporal,
    s3: readS3(settings, dev),
    stores: readStores(settings),
    serverProfile: readProfile(settings),
    postgresUrl: readPostgres(settings, dev),
    roots: 'named' in roots ? roots.named : roots.implied,
    url: readUrl(settings),
    upload: readUpload(settings, uploadAsked),
    uploadAsked,
    worker: readWorker(settings),
    api: readApi(settings, roots),
    sessions,
    maintenance: readMaintenance(settings, { ms: sessions.maxTtlMs, setting: 'LONGSHORE_SESSION_MAX_TTL' }),
    remote: readRemote(settings, devInUse),
    monitor: readMonitor(settings),
    telemetry: readTelemetry(settings),
    events: readEvents(settings),
    sealingKey:
      settings.read({ env: ['LONGSHORE_SEALING_KEY'], schema: v.key32(), secret: true }) ?? dev?.sealingKey,
    kms: readKms(settings, awsKeys(settings)),
    warnings: settings.warnings,
  });
}

function readInstallation(settings: Settings, dev: DevState | undefined): string {
  const schema = v.matching(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'up to 63 letters, digits, dots, dashes or underscores',
  );
  return settings.read({ env: ['LONGSHORE_INSTALLATION'], schema }) ?? dev?.installation ?? 'default';
}

function readProfile(settings: Settings): ServerProfile {
  const maxParts = settings.read({ env: ['LONGSHORE_MAX_PARTS'], schema: v.integer(1, MAX_PARTS) });
  const equal = settings.read({ env: ['LONGSHORE_EQUAL_PARTS'], schema: v.boolean() });
  return { ...S3_PROFILE, maxParts: maxParts ?? S3_PROFILE.maxParts, unequalParts: equal !== true };
}

type Roots = Record<string, string>;

/** The whole host is a root only for the stack of one person on one machine. */
function readRoots(settings: Settings, dev: DevState | undefined): { named: Roots } | { implied: Roots } {
  const asked = settings.read({ flag: 'roots', env: ['LONGSHORE_ROOTS'], schema: v.roots() });
  if (asked !== undefined) return { named: asked };
  const loopback = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(dev?.temporal?.address ?? '');
  return { implied: loopback ? { host: '/' } : {} };
}

function readUrl(settings: Settings): UrlConfig {
  return {
    allow: settings.read({ env: ['LONGSHORE_URL_ALLOW'], schema: v.list() }) ?? [],
    maxSize: settings.read({ env: ['LONGSHORE_URL_MAX_SIZE'], schema: v.size(1, MAX_OBJECT_SIZE) }) ?? TiB,
    timeoutMs: settings.read({ env: ['LONGSHORE_URL_TIMEOUT'], schema: v.time(1, 7 * DAY_MS) }) ?? 3_600_000,
    maxRedirects: 5,
  };
}

function readUploadAsked(settings: Settings): UploadAsked {
  const asked = {
    partSize: settings.read({
      flag: 'partSize',
      env: ['CHUNK_SIZE'],
      schema: v.size(MIN_PART_SIZE, MAX_PART_SIZE),
    }),
    concurrency: settings.read({
      flag: 'concurrency',
      env: ['LONGSHORE_CONCURRENCY'],
      schema: v.integer(1, MAX_CONCURRENCY),
    }),
    encryption: settings.read({ flag: 'sse', env: ['LONGSHORE_SSE'], schema: v.encryption() }),
  };
  return Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
}

function readUpload(settings: Settings, asked: UploadAsked): UploadDefaults {
  return {
    partSize: asked.partSize ?? DEFAULT_PART_SIZE,
    concurrency: asked.concurrency ?? DEFAULT_CONCURRENCY,
    encryption: asked.encryption,
    threshold:
      settings.read({
        flag: 'threshold',
        env: ['LONGSHORE_THRESHOLD'],
        schema: v.size(0, MAX_BUFFERED_PART),
      }) ?? DEFAULT_MULTIPART_THRESHOLD,
    expectedMax:
      settings.read({ env: ['LONGSHORE_EXPECTED_MAX'], schema: v.size(1, MAX_OBJECT_SIZE) }) ?? 64 * GiB,
  };
}

function readWorker(settings: Settings): WorkerConfig {
  return {
    memoryBudget:
      settings.read({
        flag: 'memoryBudget',
        env: ['LONGSHORE_MEMORY_BUDGET'],
        schema: v.size(16 * MiB, TiB),
      }) ?? 256 * MiB,
    concurrency: settings.read({
      flag: 'workerConcurrency',
      env: ['WORKER_CONCURRENCY'],
      schema: v.integer(1, 1000),
    }),
    shutdownGraceMs:
      settings.read({
        flag: 'shutdownGrace',
        env: ['LONGSHORE_SHUTDOWN_GRACE'],
        schema: v.time(0, 3_600_000),
      }) ?? 10_000,
    healthPort: settings.read({
      flag: 'healthPort',
      env: ['LONGSHORE_HEALTH_PORT'],
      schema: v.integer(0, 65_535),
    }),
    healthHost:
      settings.read({ flag: 'healthHost', env: ['LONGSHORE_HEALTH_HOST'], schema: v.text() }) ?? '127.0.0.1',
  };
}

/** The configuration for people and logs: secrets say only that they are set. */
export function describeConfig(config: Config): Record<string, unknown> {
  const set = (secret: unknown) => (secret === undefined ? undefined : '(set)');
  const store = (s3: StoreConfig) => ({
    ...s3,
    accessKeyId: s3.accessKeyId === undefined ? undefined : `${s3.accessKeyId.slice(0, 4)}…`,
    secretAccessKey: set(s3.secretAccessKey),
    sessionToken: set(s3.sessionToken),
    ca: set(s3.ca),
  });
  const { tls, apiKey, metadata, ...temporal } = config.temporal;
  return {
    ...config,
    temporal: {
      ...temporal,
      apiKey: set(apiKey),
      tls: typeof tls === 'object' ? set(tls) : tls,
      metadata: metadata && Object.keys(metadata),
    },
    s3: store(config.s3),
    stores: Object.fromEntries(Object.entries(config.stores).map(([name, s3]) => [name, store(s3)])),
    postgresUrl: config.postgresUrl === undefined ? undefined : hidePassword(config.postgresUrl),
    sealingKey: set(config.sealingKey),
    events: describeEvents(config.events),
    kms: config.kms && {
      ...config.kms,
      accessKeyId: undefined,
      secretAccessKey: undefined,
      sessionToken: undefined,
    },
    remote: config.remote && { ...config.remote, key: set(config.remote.key) },
  };
}

function deepFreeze<T>(value: T): T {
  // Certificates are Buffers, and bytes cannot be frozen.
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
