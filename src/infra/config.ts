/** The one place that reads the environment. `loadConfig` merges flag > environment > `.longshore/dev.json` > default, once, and freezes it. */
import type { ServerProfile } from '../core/part-plan.js';
import type { Encryption } from '../core/uploads.js';
import type { StoreConfig } from './s3/store.js';

export interface Config {
  /** Absolute; holds `dev.json`. */
  readonly dataDir: string;
  /** Who owns rows and multipart uploads: stable over restarts. */
  readonly installation: string;
  readonly logLevel: string;
  readonly temporal: TemporalConfig;
  readonly s3: StoreConfig & { readonly profile?: string | undefined };
  /** Other stores that `object` sources may name. */
  readonly stores: Readonly<Record<string, StoreConfig>>;
  readonly serverProfile: ServerProfile;
  readonly postgresUrl: string | undefined;
  readonly roots: Readonly<Record<string, string>>;
  readonly url: UrlConfig;
  readonly upload: UploadDefaults;
  readonly worker: WorkerConfig;
  /** 32 bytes, base64: seals addresses that are secrets. */
  readonly sealingKey: string | undefined;
}

export interface TemporalConfig {
  readonly address: string;
  readonly namespace: string;
  /** Base of the Web UI, without a slash at its end; undefined when unknown. */
  readonly ui: string | undefined;
  readonly apiKey: string | undefined;
  /** As `@temporalio/envconfig` gives it. */
  readonly tls: unknown;
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

export interface WorkerConfig {
  /** Bytes that transfer activities may hold in buffers; slots follow from it. */
  readonly memoryBudget: number;
  /** `WORKER_CONCURRENCY`: overrides the number of slots. */
  readonly concurrency: number | undefined;
  readonly shutdownGraceMs: number;
  readonly healthPort: number | undefined;
  readonly healthHost: string;
}
