/** MinIO behind TLS, where SSE-C is real: one of the suite's own, its certificate trusted by configuration. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3';
import { S3_CONNECT_TIMEOUT_MS, S3_MAX_CONNECTIONS, S3_SOCKET_TIMEOUT_MS } from '../../src/core/limits.js';
import { startGuard } from '../../src/dev/guard.js';
import { startMinio } from '../../src/dev/parts/minio.js';
import { pickPort } from '../../src/dev/ports.js';
import type { StoreConfig } from '../../src/infra/s3/store.js';
import { selfSigned } from './certificate.js';
import { TEST_BUCKET_PREFIX, unfinishedUploads } from './leaks.js';
import type { S3Address } from './stack.js';
import { say } from './test-stack.js';

export interface TlsServer {
  s3: S3Address;
  /** PEM file of its certificate. */
  caFile: string;
  config: StoreConfig;
  /** Of the name that its KMS key has. */
  kmsKeyId: string;
  /** Straight to it. */
  client: S3Client;
  /** What commands are told of it. */
  env: Record<string, string>;
  bucket(options?: { versioned?: boolean }): Promise<{ name: string; client: S3Client }>;
  /** Keys of multipart uploads that are left in any bucket of the tests. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

const KMS_KEY = 'longshore-test';

export async function startMinioTls(): Promise<TlsServer> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-tls-'));
  const { cert, key } = selfSigned();
  const caFile = join(folder, 'ca.crt');
  const keyFile = join(folder, 'server.key');
  await writeFile(caFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  const guard = startGuard();
  const keys = { accessKeyId: 'longshore-test', secretAccessKey: randomBytes(18).toString('hex') };
  const part = await startMinio({
    ...keys,
    ...{ dataDir: folder, env: process.env, log: say, guard, port: await pickPort() },
    tls: { cert: caFile, key: keyFile },
    kmsSecretKey: `${KMS_KEY}:${randomBytes(32).toString('base64')}`,
  });
  const { endpoint, region } = part;
  const client = new S3Client({
    ...{ endpoint, region, forcePathStyle: true, credentials: keys },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { httpsAgent: new Agent({ ca: cert, keepAlive: true }) },
  });
  const buckets: string[] = [];
  return {
    s3: { endpoint, region, ...keys },
    ...{ caFile, client, kmsKeyId: KMS_KEY },
    config: {
      ...{ endpoint, region, ...keys, ca: cert },
      maxConnections: S3_MAX_CONNECTIONS,
      connectTimeoutMs: S3_CONNECT_TIMEOUT_MS,
      socketTimeoutMs: S3_SOCKET_TIMEOUT_MS,
    },
    env: { LONGSHORE_S3_CA_FILE: caFile },
    async bucket({ versioned = false } = {}) {
      const name = `${TEST_BUCKET_PREFIX}${randomUUID()}`;
      await client.send(new CreateBucketCommand({ Bucket: name }));
      buckets.push(name);
      const VersioningConfiguration = { Status: 'Enabled' as const };
      if (versioned)
        await client.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration }));
      return { name, client };
    },
    leftovers: async () => (await Promise.all(buckets.map((name) => unfinishedUploads(client, name)))).flat(),
    async close() {
      client.destroy();
      await part.stop();
      await guard.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
