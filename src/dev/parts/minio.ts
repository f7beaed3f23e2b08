/** MinIO, the second S3 server of the contract suites: real SSE where versitygw only nods. */
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LOOPBACK } from '../ports.js';
import { provision } from '../provision.js';
import { probeHttp } from './probe.js';
import { launch, serverEnvironment, untilReady } from './part.js';
import { REGION } from './versitygw.js';
import type { S3Part, StartS3Options } from './versitygw.js';

export interface StartMinioOptions extends StartS3Options {
  /** `<name>:<32 bytes in base64>`; without it SSE-S3 and SSE-KMS answer 501. */
  kmsSecretKey?: string;
  /** Paths of a PEM certificate and its key; SSE-C needs TLS. */
  tls?: { cert: string; key: string };
}

const READY_TIMEOUT_MS = 30_000;
const GRACE_MS = 10_000;

export async function startMinio(options: StartMinioOptions): Promise<S3Part> {
  const { env, log, signal, dataDir } = options;
  const command = await provision('minio', { env, log, ...(signal === undefined ? {} : { signal }) });
  const data = join(dataDir, 'minio', 'data');
  const certificates = join(dataDir, 'minio', 'certs');
  await Promise.all([mkdir(data, { recursive: true }), mkdir(certificates, { recursive: true })]);
  if (options.tls !== undefined) {
    await copyFile(options.tls.cert, join(certificates, 'public.crt'));
    await copyFile(options.tls.key, join(certificates, 'private.key'));
  }
  const part = launch({
    name: 'minio',
    command,
    args: [
      'server',
      '--quiet',
      '--certs-dir',
      certificates,
      '--address',
      `${LOOPBACK}:${options.port}`,
      data,
    ],
    env: {
      ...serverEnvironment(env),
      MINIO_ROOT_USER: options.accessKeyId,
      MINIO_ROOT_PASSWORD: options.secretAccessKey,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
      ...(options.kmsSecretKey === undefined ? {} : { MINIO_KMS_SECRET_KEY: options.kmsSecretKey }),
    },
    logFile: join(dataDir, 'logs', 'minio.log'),
    guard: options.guard,
    stopSignal: 'SIGTERM',
    graceMs: GRACE_MS,
  });
  const endpoint = `${options.tls === undefined ? 'http' : 'https'}://${LOOPBACK}:${options.port}`;
  await untilReady(part, () => probeHttp(`${endpoint}/minio/health/live`), {
    timeoutMs: READY_TIMEOUT_MS,
    signal,
  });
  return Object.assign(part, { endpoint, region: REGION });
}
