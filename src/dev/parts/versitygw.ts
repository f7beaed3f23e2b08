/** The S3 server of the embedded stack: versitygw on a folder, each object a file that can be looked at. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LOOPBACK } from '../ports.js';
import { provision } from '../provision.js';
import { probeHttp } from './probe.js';
import { launch, serverEnvironment, untilReady } from './part.js';
import type { Part, StartOptions } from './part.js';

export interface S3Part extends Part {
  endpoint: string;
  region: string;
}

export interface StartS3Options extends StartOptions {
  port: number;
  accessKeyId: string;
  secretAccessKey: string;
}

export const REGION = 'us-east-1';
/**
 * Bytes. Measured: with the default of 1 MiB it writes bodies in aws-chunks a mebibyte at a time, long after they came, and
 * takes nearly twice as long over them.
 */
const IO_BUFFER = 128 * 1024;
const HEALTH = '/_health';
const READY_TIMEOUT_MS = 30_000;
const GRACE_MS = 10_000;

export async function startVersitygw(options: StartS3Options): Promise<S3Part> {
  const { env, log, signal, dataDir } = options;
  const command = await provision('versitygw', { env, log, ...(signal === undefined ? {} : { signal }) });
  const objects = join(dataDir, 's3', 'objects');
  const versions = join(dataDir, 's3', 'versions');
  await Promise.all([mkdir(objects, { recursive: true }), mkdir(versions, { recursive: true })]);
  const part = launch({
    name: 's3',
    command,
    args: [
      ...['--port', `${LOOPBACK}:${options.port}`, '--region', REGION, '--health', HEALTH, '--quiet'],
      // Without it the server closes the connection after every answer.
      '--keep-alive',
      ...['posix', '--versioning-dir', versions, objects],
    ],
    // In the environment, not the arguments, where every user of the machine could read it.
    env: {
      ...serverEnvironment(env),
      ROOT_ACCESS_KEY: options.accessKeyId,
      ROOT_SECRET_KEY: options.secretAccessKey,
      // A setting that older builds pass over, where they would stop at an argument.
      VGW_POSIX_IO_BUFFER_SIZE: String(IO_BUFFER),
    },
    logFile: join(dataDir, 'logs', 's3.log'),
    guard: options.guard,
    stopSignal: 'SIGTERM',
    graceMs: GRACE_MS,
  });
  const endpoint = `http://${LOOPBACK}:${options.port}`;
  await untilReady(part, () => probeHttp(`${endpoint}${HEALTH}`), { timeoutMs: READY_TIMEOUT_MS, signal });
  return Object.assign(part, { endpoint, region: REGION });
}
