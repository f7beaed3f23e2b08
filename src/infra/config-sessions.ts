/** How clients send bytes through the API, where a request does not say it itself. */
import { GiB, KiB, MAX_PART_SIZE, MIN_PART_SIZE, MiB } from '../core/limits.js';
import { BUCKET_PATTERN } from '../core/validate.js';
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface SessionsConfig {
  /** How long a session lives after the last sign of its client, ms. */
  readonly ttlMs: number;
  /** The longest that a request may ask for, ms. */
  readonly maxTtlMs: number;
  /** Bytes of a payload that comes with the request, at most: larger ones come in chunks. */
  readonly payloadMax: number;
  /** Where objects go whose request names no bucket; undefined: it has to. */
  readonly bucket: string | undefined;
  /** Keys of objects without a connector and without a key of their own; see `keyFrom`. */
  readonly keyTemplate: string;
  /** Bytes of a chunk, preferably. */
  readonly chunkSize: number;
  /** Chunks of one session that are taken at once. */
  readonly chunksAtOnce: number;
  /** A body on which nothing comes for so long has broken off, ms. */
  readonly idleMs: number;
  /** Bytes a second that a body brings at least while it occupies a way to S3, over `idleMs`; 0: any rate will do. */
  readonly floorRate: number;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** A sealed key, the sweep and the bucket's own rule have to outlive a session, in this order. */
const MAX_TTL_MS = 7 * DAY_MS;
/** 100 MB, as the coordination service has it. */
const PAYLOAD_MAX = 100_000_000;
/** Of a chunk that goes to S3 as it comes: 16 MiB in 17 minutes. */
const FLOOR_RATE = 16 * KiB;
const DEV_BUCKET = 'uploads';

/** `dev`: the stack of one person on one machine is in use. */
export function readSessions(settings: Settings, dev: boolean): SessionsConfig {
  const ttlMs =
    settings.read({ env: ['LONGSHORE_SESSION_TTL'], schema: v.time(1_000, MAX_TTL_MS) }) ?? DAY_MS;
  const bucket = settings.read({
    env: ['LONGSHORE_SESSION_BUCKET'],
    schema: v.matching(BUCKET_PATTERN, 'the name of a bucket'),
  });
  return {
    ttlMs,
    maxTtlMs: Math.max(
      ttlMs,
      settings.read({ env: ['LONGSHORE_SESSION_MAX_TTL'], schema: v.time(1_000, MAX_TTL_MS) }) ?? ttlMs,
    ),
    payloadMax:
      settings.read({ env: ['LONGSHORE_SESSION_PAYLOAD_MAX'], schema: v.size(0, MAX_PART_SIZE) }) ??
      PAYLOAD_MAX,
    bucket: bucket ?? (dev ? DEV_BUCKET : undefined),
    keyTemplate:
      settings.read({
        env: ['LONGSHORE_SESSION_KEY'],
        schema: v.matching(
          /^(?=.*\{(?:node_id|upload_id)\})(?:[^{}]|\{(?:node_id|upload_id|name)\})+$/,
          'a key with {node_id} or {upload_id}, and {name} where it is wanted',
        ),
      }) ?? 'uploads/{node_id}/{name}',
    chunkSize:
      settings.read({
        env: ['LONGSHORE_SESSION_CHUNK_SIZE'],
        schema: v.size(MIN_PART_SIZE, MAX_PART_SIZE),
      }) ?? 16 * MiB,
    chunksAtOnce: settings.read({ env: ['LONGSHORE_SESSION_CONCURRENCY'], schema: v.integer(1, 1000) }) ?? 10,
    idleMs:
      settings.read({ env: ['LONGSHORE_SESSION_IDLE'], schema: v.time(100, 60 * MINUTE_MS) }) ?? MINUTE_MS,
    floorRate: settings.read({ env: ['LONGSHORE_SESSION_FLOOR_RATE'], schema: v.size(0, GiB) }) ?? FLOOR_RATE,
  };
}
