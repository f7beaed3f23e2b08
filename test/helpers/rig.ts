/**
 * Longshore whole, for fault tests: a namespace, a schema and a fault proxy of its own in front of an S3 server. The worker
 * runs in the test's process (`startRig`), or as children that a test can kill (`{ worker: false }` and `startWorker`).
 */
import { createHash, randomFillSync, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { LongshoreClient, type StartUpload, type StartedUpload } from '../../src/client/longshore-client.js';
import { MiB } from '../../src/core/limits.js';
import { loadConfig, type Config } from '../../src/infra/config.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { getUpload, type UploadRow } from '../../src/infra/catalog/uploads.js';
import { createLogger } from '../../src/infra/telemetry/log.js';
import { defaultQueues, startWorker, type RunningWorker } from '../../src/workers/worker.js';
import { testBucket, type TestBucket } from './buckets.js';
import { startFaultProxy, type FaultProxy } from './fault-proxy.js';
import { testSchema } from './postgres.js';
import { environmentOf, type Surroundings } from './processes.js';
import { part, type S3Address } from './stack.js';
import { testNamespace, type TestNamespace } from './temporal.js';
import { eventually } from './wait.js';

export interface RigOptions {
  /** false: the tests start workers themselves. */
  worker?: boolean;
  /** Where uploads go; default versitygw. */
  server?: 'versitygw' | 'minio';
  /** A function is told the S3 server's address, which is the proxy's. */
  env?: Record<string, string> | ((s3: S3Address) => Record<string, string>);
  /** host:port of a Temporal server of the test's own. */
  temporal?: string;
  /** URL of a PostgreSQL of the test's own. */
  postgres?: string;
}

export interface Rig {
  proxy: FaultProxy;
  temporal: TestNamespace;
  client: LongshoreClient;
  surroundings: Surroundings;
  config: Config;
  folder: string;
  /** A file of pseudo-random bytes under the root `files`. */
  file(size: number, name?: string): Promise<TestFile>;
  /** The same for sizes that are not to be held in memory. */
  bigFile(size: number, name?: string): Promise<TestFile>;
  /** A bucket of the test that runs, removed with a check for unfinished uploads. */
  bucket(): Promise<TestBucket>;
  start(file: { name: string }, bucket: TestBucket, change?: Partial<StartUpload>): Promise<StartedUpload>;
  row(id: string): Promise<UploadRow | undefined>;
  close(): Promise<void>;
}

export interface TestFile {
  name: string;
  path: string;
  size: number;
  sha256: string;
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const { server = 'versitygw' } = options;
  const folder = await mkdtemp(join(tmpdir(), 'longshore-rig-'));
  const [temporal, schema, proxy] = await Promise.all([
    testNamespace(options.temporal),
    testSchema(options.postgres),
    startFaultProxy(part(server).endpoint),
  ]);
  await migrate(schema.pool);
  const s3 = { ...part(server), endpoint: proxy.endpoint };
  const env = typeof options.env === 'function' ? options.env(s3) : options.env;
  const surroundings: Surroundings = {
    temporal,
    s3,
    postgres: { url: schema.url, schema: schema.schema },
    dataDir: join(folder, 'data'),
    env: { LONGSHORE_ROOTS: `files=${folder}`, ...env },
  };
  const config = loadConfig({ env: environmentOf(surroundings), cwd: folder });
  const client = await LongshoreClient.connect(config.temporal);
  const log = createLogger({ level: 'error', name: 'rig' });
  const worker: RunningWorker | undefined =
    options.worker === false
      ? undefined
      : await startWorker(config, defaultQueues(config), log, new AbortController().signal);
  return {
    ...{ proxy, temporal, client, surroundings, config, folder },
    file: (size, name = randomUUID()) => writeRandom(folder, name, size),
    bigFile: (size, name = randomUUID()) => streamRandom(folder, name, size),
    bucket: () => testBucket(server),
    start: (file, bucket, change = {}) =>
      client.startUpload({
        source: { kind: 'file', root: 'files', path: file.name },
        destination: { bucket: bucket.name, key: file.name },
        options: {},
        ...change,
      }),
    row: (id) => getUpload(schema.pool, id),
    close: async () => {
      worker?.shutdown();
      await worker?.finished;
      await client.close();
      await temporal.close();
      await proxy.close();
      await schema.drop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function writeRandom(folder: string, name: string, size: number): Promise<TestFile> {
  const path = join(folder, name);
  const bytes = randomBytesLike(size);
  await writeFile(path, bytes);
  return { name, path, size, sha256: createHash('sha256').update(bytes).digest('hex') };
}

const STRETCH = 16 * MiB;

async function streamRandom(folder: string, name: string, size: number): Promise<TestFile> {
  const path = join(folder, name);
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    const buffer = Buffer.alloc(STRETCH);
    for (let offset = 0; offset < size; offset += STRETCH) {
      const bytes = randomFillSync(buffer.subarray(0, size - offset));
      hash.update(bytes);
      await file.write(bytes);
    }
  } finally {
    await file.close();
  }
  return { name, path, size, sha256: hash.digest('hex') };
}

/** xorshift32: fast, and no two MiB are alike. */
function randomBytesLike(size: number): Buffer {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (Math.random() * 0xffffffff) | 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return Buffer.from(words.buffer, 0, size);
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** SHA-256 of the object, past the proxy. */
export async function objectSha256({ client, name }: TestBucket, key: string): Promise<string> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: name, Key: key }));
  const hash = createHash('sha256');
  for await (const chunk of Body as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}

export async function keysIn({ client, name }: TestBucket): Promise<string[]> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: name }));
  return Contents.map(({ Key = '' }) => Key);
}

/** The error that an upload ends with. */
export async function failureOf(client: LongshoreClient, id: string): Promise<unknown> {
  return await client.result(id).then(
    (result) => {
      throw new Error(`it was to fail, but completed: ${JSON.stringify(result)}`);
    },
    (error: unknown) => error,
  );
}

/** Waits until at least this share of the upload is in S3, and gives the bytes done. */
export async function reached(client: LongshoreClient, id: string, bytes: number): Promise<number> {
  const view = await eventually(
    async () => {
      const now = await client.view(id);
      if (now.closedAt !== undefined) throw new Error(`it ended as ${now.state} before it was half-way`);
      return now.progress.bytesDone >= bytes ? now : false;
    },
    { timeout: 60_000, interval: 30, what: `${bytes} bytes in S3` },
  );
  return view.progress.bytesDone;
}
