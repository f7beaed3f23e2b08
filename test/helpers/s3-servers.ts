/** The S3 servers that contract suites run against: those that the global setup started, or that the environment names. */
import { inject } from 'vitest';
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../../src/core/limits.js';
import type { StoreConfig } from '../../src/infra/s3/store.js';

export interface S3Server {
  name: 'versitygw' | 'minio';
  config: StoreConfig;
}

interface S3Address {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
}

type Stack = Partial<Record<S3Server['name'], S3Address>>;

/** Throws when a server is missing, so that a suite is never passed by running on nothing. */
export function s3Servers(): Promise<S3Server[]> {
  const stack = stackOf();
  const servers = (['versitygw', 'minio'] as const).map((name): S3Server => {
    const address = stack[name];
    if (address === undefined) throw new Error(`the test stack has no ${name}`);
    const { endpoint, region, accessKeyId, secretAccessKey } = address;
    return { name, config: { ...LIMITS, endpoint, region, accessKeyId, secretAccessKey } };
  });
  return Promise.resolve(servers);
}

const LIMITS = {
  maxConnections: S3_MAX_CONNECTIONS,
  connectTimeoutMs: S3_CONNECT_TIMEOUT_MS,
  socketTimeoutMs: S3_SOCKET_TIMEOUT_MS,
};

function stackOf(): Stack {
  const injected = (inject as (key: string) => Stack | undefined)('stack');
  if (injected !== undefined) return injected;
  const named = process.env['LONGSHORE_TEST_STACK'];
  if (named === undefined)
    throw new Error('no S3 servers: run under the global setup, or set LONGSHORE_TEST_STACK');
  return JSON.parse(named) as Stack;
}
