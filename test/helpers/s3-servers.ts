/** The S3 servers that contract suites run against: those that the global setup started or was told of. */
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../../src/core/limits.js';
import type { StoreConfig } from '../../src/infra/s3/store.js';
import { isSkipped, part } from './stack.js';

export interface S3Server {
  name: 'versitygw' | 'minio';
  /** For `describe.skipIf`: a person left it out. */
  skipped: boolean;
  config: StoreConfig;
}

const LIMITS = {
  maxConnections: S3_MAX_CONNECTIONS,
  connectTimeoutMs: S3_CONNECT_TIMEOUT_MS,
  socketTimeoutMs: S3_SOCKET_TIMEOUT_MS,
};

/** Rejects when a server could not be had, so that a suite is never passed by running on nothing. */
export function s3Servers(): Promise<S3Server[]> {
  return Promise.all((['versitygw', 'minio'] as const).map(serverOf));
}

async function serverOf(name: S3Server['name']): Promise<S3Server> {
  if (isSkipped(name)) return { name, skipped: true, config: { region: 'us-east-1', ...LIMITS } };
  const { endpoint, region, accessKeyId, secretAccessKey } = part(name);
  return { name, skipped: false, config: { ...LIMITS, endpoint, region, accessKeyId, secretAccessKey } };
}
