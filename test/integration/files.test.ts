/** The batch activity on real servers, in a context of its own: what becomes of each file, and of the batch. */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createCheckBucket } from '../../src/activities/bucket-check.js';
import { createDeleteGone, createLookAtDeletions } from '../../src/activities/deletions.js';
import { createUploadFiles } from '../../src/activities/files.js';
import { jobWorkflowId } from '../../src/core/ids.js';
import type { BatchInput, BatchResult, JobRef } from '../../src/core/job-steps.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { MiB } from '../../src/core/limits.js';
import { openJob, setLimits } from '../../src/infra/catalog/jobs.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { createLimits, type Limits } from '../../src/infra/limits.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';
import { testBucket, type TestBucket } from '../helpers/buckets.js';
import { faults, startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { keysIn } from '../helpers/rig.js';
import { part } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

interface Row {
  path: string;
  state: string;
  failure_code: string | null;
  checksum: string | null;
  etag: string | null;
}

interface TestJob extends JobRef {
  id: string;
  bucket: TestBucket;
}

type Change = Partial<Omit<JobDefinition, 'destination'>> & {
  destination?: (bucket: string) => JobDefinition['destination'];
};

let schema: TestSchema;
let proxy: FaultProxy;
let store: ObjectStore;
let limits: Limits;
let root: string;

beforeAll(async () => {
  schema = await testSchema();
  await migrate(schema.pool);
});
afterAll(() => schema.drop());

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'longshore-files-'));
  proxy = await startFaultProxy(part('versitygw').endpoint);
  store = createObjectStore({
    ...part('versitygw'),
    endpoint: proxy.endpoint,
    maxConnections: 50,
    connectTimeoutMs: 2_000,
    socketTimeoutMs: 5_000,
  });
  limits = createLimits(schema.pool);
});
afterEach(async () => {
  await limits.close();
  store.close();
  await proxy.close();
  await rm(root, { recursive: true, force: true });
});

const deps = () => ({ db: schema.pool, store, limits, roots: { files: root }, defaults: {} });

/** A job whose files are in one batch, as the scan would leave it. */
async function jobOf(
  files: Record<string, Buffer | string>,
  { destination, ...change }: Change = {},
): Promise<TestJob> {
  const bucket = await testBucket();
  const id = randomUUID();
  const definition: JobDefinition = {
    source: { root: 'files', path: 'job' },
    sourceFolder: join(root, 'job'),
    destination: destination?.(bucket.name) ?? { bucket: bucket.name, prefix: 'to/' },
    filter: {},
    objects: {},
    monitor: { enabled: false },
    compare: 'mtime',
    verify: true,
    ...change,
  };
  const run = { id, mode: 'first' as const, workflowId: jobWorkflowId(id), runId: randomUUID() };
  const { job, generation } = await openJob(schema.pool, 'test', { ...run, definition, fingerprint: id });
  await mkdir(join(root, 'job'), { recursive: true });
  await schema.pool.query(
    'INSERT INTO upload_batches (upload_job_id, batch, files, bytes) VALUES ($1, 1, $2, 0)',
    [job, Object.keys(files).length],
  );
  for (const [path, content] of Object.entries(files)) {
    const at = join(root, 'job', path);
    const marker = path.endsWith('/');
    await mkdir(marker ? at : dirname(at), { recursive: true });
    if (!marker) await writeFile(at, content);
    const { size, mtimeNs } = await stat(at, { bigint: true });
    await schema.pool.query(
      `INSERT INTO files (upload_job_id, path, state, size, mtime_ns, batch, marker, generation)
       VALUES ($1, $2, 'PENDING', $3, $4, 1, $5, $6)`,
      [job, path, marker ? '0' : String(size), String(mtimeNs), marker, generation],
    );
  }
  return { id, job, generation, bucket };
}

async function rowsOf({ job }: JobRef): Promise<Map<string, Row>> {
  const { rows } = await schema.pool.query<Row>(
    'SELECT path, state, failure_code, checksum, etag FROM files WHERE upload_job_id = $1',
    [job],
  );
  return new Map(rows.map((row) => [row.path, row]));
}

const statesOf = async (ref: JobRef): Promise<Record<string, string>> =>
  Object.fromEntries(
    [...(await rowsOf(ref)).values()].map((row) => [row.path, row.failure_code ?? row.state]),
  );

function send(job: JobRef, environment = new MockActivityEnvironment()): Promise<BatchResult> {
  const input: BatchInput = { job: job.job, generation: job.generation, batch: 1 };
  return environment.run(createUploadFiles(deps()), input);
}

const many = (count: number, content = 'x'): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`d/${index}`, content]));

describe('uploadFiles', () => {
  it('sends small, empty and larger files, markers and awkward names, and nothing twice', async () => {
    const files = {
      'a.txt': 'text',
      empty: '',
      mid: Buffer.alloc(300 * 1024, 'm'),
      larger: Buffer.alloc(5 * MiB, 'l'),
      'deep/er/é🚢\nname': 'odd',
      'folder/': '',
    };
    const job = await jobOf(files);
    const result = await send(job);
    expect(result).toMatchObject({ uploaded: 6, failed: 0, left: 0, finished: true });
    const keys = Object.keys(files).map((path) => `to/${path}`);
    expect((await keysIn(job.bucket)).sort()).toEqual(keys.sort());
    const live = new AbortController().signal;
    for (const [path, row] of await rowsOf(job)) {
      const head = await store.headObject({ bucket: job.bucket.name, key: `to/${path}` }, live);
      expect(row).toMatchObject({ state: 'UPLOADED', etag: head?.etag });
      if (!path.endsWith('/')) expect(row.checksum).toBe(`crc32:${head?.crc32}`);
      expect(head?.metadata['longshore-upload-id']).toBe(jobWorkflowId(job.id));
    }
    const sent = proxy.calls('PutObject');
    expect(await send(job)).toMatchObject({ uploaded: 0, finished: true });
    expect(proxy.calls('PutObject')).toBe(sent);
  });

  it('gives each file its own failure, and sends the rest', async () => {
    const job = await jobOf({
      ...many(20),
      gone: 'g',
      grown: 'g',
      link: 'l',
      ['k'.repeat(250)]: 'k',
      no: 'n',
    });
    const at = (path: string): string => join(root, 'job', path);
    await rm(at('gone'));
    await writeFile(at('grown'), 'more than before');
    await rm(at('link'));
    await symlink('/etc/hostname', at('link'));
    await chmod(at('no'), 0);
    proxy.fault({ key: 'to/d/7' }, faults.status(400, 'InvalidArgument'));
    proxy.fault({ key: 'to/d/8' }, faults.status(403, 'AccessDenied'));
    const result = await send(job);
    const root0 = process.getuid?.() === 0;
    expect(result).toMatchObject({ failed: root0 ? 4 : 5, left: 1, finished: true });
    expect(await statesOf(job)).toMatchObject({
      gone: 'SourceNotFound',
      grown: 'SourceChanged',
      link: 'SourceOutsideRoot',
      no: root0 ? 'UPLOADED' : 'SourceDenied',
      'd/7': 'InvalidRequest',
      'd/8': 'AccessDenied',
      'd/9': 'UPLOADED',
    });
    expect((await rowsOf(job)).get('grown')?.state).toBe('PENDING');
    expect(await keysIn(job.bucket)).not.toContain('to/grown');
  });

  it('sends a file that changed as it is at the next try', async () => {
    const job = await jobOf({ grown: 'g', larger: Buffer.alloc(5 * MiB), gone: 'g', stays: 's' });
    const at = (path: string): string => join(root, 'job', path);
    await writeFile(at('grown'), 'more than before');
    await writeFile(at('larger'), Buffer.alloc(5 * MiB, 'l'));
    expect(await send(job)).toMatchObject({ uploaded: 2, left: 2, failed: 0 });
    expect(await send(job)).toMatchObject({ uploaded: 2, left: 0, failed: 0 });
    const head = await store.headObject(
      { bucket: job.bucket.name, key: 'to/grown' },
      new AbortController().signal,
    );
    expect(head?.size).toBe(16);
  });

  it.each([
    ['NoSuchBucket', 404, 'NoSuchBucket'],
    ['ExpiredToken', 400, 'ExpiredCredentials'],
    ['QuotaExceeded', 507, 'StorageFull'],
    ['AccessDenied', 403, 'AccessDenied'],
  ])('ends the batch at %s', async (code, status, expected) => {
    const job = await jobOf(many(60));
    proxy.fault({ op: 'PutObject' }, faults.status(status, code));
    await expect(send(job)).rejects.toMatchObject({ code: expected });
    expect(proxy.calls('PutObject')).toBeLessThan(60 + 32);
  });

  it('waits while the server asks for less, and fails nothing', async () => {
    const job = await jobOf(many(120));
    const slow = proxy.fault({ op: 'PutObject', probability: 0.5 }, faults.status(503, 'SlowDown'));
    setTimeout(() => slow.remove(), 3_000);
    expect(await send(job)).toMatchObject({ uploaded: 120, failed: 0, left: 0, finished: true });
    expect(slow.hits).toBeGreaterThan(10);
  });

  it('sends damaged bytes again', async () => {
    const job = await jobOf(many(10));
    proxy.fault({ op: 'PutObject', times: 2 }, faults.status(400, 'BadDigest'));
    expect(await send(job)).toMatchObject({ uploaded: 10, failed: 0 });
  });

  it('stops within a second when it is told to, with its outcomes written', async () => {
    const job = await jobOf(many(300));
    proxy.fault({ op: 'PutObject' }, faults.delay(100));
    const environment = new MockActivityEnvironment();
    const sending = send(job, environment);
    await eventually(() => Promise.resolve(proxy.calls('PutObject') > 32), { what: 'some files' });
    environment.cancel();
    const begun = proxy.calls('PutObject');
    const result = await sending;
    expect(result.finished).toBe(false);
    expect(proxy.calls('PutObject') - begun).toBeLessThanOrEqual(16);
    expect(result.uploaded + result.left).toBe(300);
    const rows = [...(await rowsOf(job)).values()];
    expect(rows.filter(({ state }) => state === 'UPLOADED')).toHaveLength(result.uploaded);
    expect(await keysIn(job.bucket)).toHaveLength(result.uploaded);
  });

  it('puts nothing anywhere when the server ignores the encryption asked for', async () => {
    const job = await jobOf(many(5), { objects: { encryption: { type: 'SSE_S3' } } });
    await expect(send(job)).rejects.toMatchObject({ code: 'EncryptionNotApplied' });
    expect(await keysIn(job.bucket)).toEqual([]);
  });

  it('has no more files in flight than the limit, also when it changes', async () => {
    const job = await jobOf(many(200));
    await setLimits(schema.pool, job.id, { concurrency: 2 });
    let now = 0;
    let most = 0;
    const hook = { before: () => void (most = Math.max(most, ++now)), after: () => void (now -= 1) };
    proxy.fault({ op: 'PutObject' }, faults.hook(hook));
    proxy.fault({ op: 'PutObject' }, faults.delay(40));
    const sending = send(job);
    await eventually(() => Promise.resolve(proxy.calls('PutObject') > 12), { what: 'some files' });
    expect(most).toBeLessThanOrEqual(2);
    await setLimits(schema.pool, job.id, { concurrency: null });
    await eventually(() => Promise.resolve(most > 8), { what: 'more in flight', timeout: 3_000 });
    await sending;
  });

  it('keeps to the bandwidth', async () => {
    const job = await jobOf({ one: Buffer.alloc(MiB, '1'), two: Buffer.alloc(MiB, '2') });
    await setLimits(schema.pool, job.id, { bandwidth: MiB });
    const began = performance.now();
    expect(await send(job)).toMatchObject({ uploaded: 2, bytes: 2 * MiB });
    expect(performance.now() - began).toBeGreaterThan(1_500);
  });
});

describe('after the transfer', () => {
  it('finds what is missing or different in the bucket', async () => {
    const job = await jobOf({ ...many(30), 'e\u0301': 'e', 'a/🚢': 's', 'a～': 'w' });
    await send(job);
    const check = (): Promise<{ again: number }> =>
      new MockActivityEnvironment().run(createCheckBucket(deps()), job);
    expect(await check()).toEqual({ again: 0 });
    const { name: bucket } = job.bucket;
    const live = new AbortController().signal;
    await store.deleteObject({ bucket, key: 'to/d/3' }, live);
    await store.deleteObject({ bucket, key: 'to/a～' }, live);
    await store.putObject({ bucket, key: 'to/d/4', body: Buffer.from('y') }, live);
    await store.putObject({ bucket, key: 'to/d/33', body: Buffer.from('not ours') }, live);
    expect(await check()).toEqual({ again: 3 });
    const pending = [...(await rowsOf(job)).values()].filter(({ state }) => state === 'PENDING');
    expect(pending.map(({ path }) => path).sort()).toEqual(['a～', 'd/3', 'd/4'].sort());
  });

  it('deletes objects of files that are gone, in slices, unless they are too many', async () => {
    const job = await jobOf({ ...many(30), stays: 's' }, { deletions: { maxShare: 0.5 } });
    await send(job);
    const look = () => new MockActivityEnvironment().run(createLookAtDeletions(deps()), job);
    const gone = async (where: string): Promise<void> => {
      const { rows } = await schema.pool.query<{ path: string }>(
        `UPDATE files SET gone = true WHERE upload_job_id = $1 AND ${where} RETURNING path`,
        [job.job],
      );
      for (const { path } of rows) await rm(join(root, 'job', path), { force: true });
    };
    expect(await look()).toEqual({ gone: 0, share: 0, tooMany: false });
    await gone(`path < 'd/2'`);
    expect(await look()).toMatchObject({ gone: 12, tooMany: false });
    await gone(`path <> 'stays'`);
    expect(await look()).toMatchObject({ gone: 30, tooMany: true });
    const slice = () => new MockActivityEnvironment().run(createDeleteGone(deps()), { ...job, budget: 20 });
    expect(await slice()).toEqual({ deleted: 20, done: false });
    expect(await slice()).toEqual({ deleted: 10, done: true });
    expect(await keysIn(job.bucket)).toEqual(['to/stays']);
    expect([...(await rowsOf(job)).keys()]).toEqual(['stays']);
    await rm(root, { recursive: true });
    await expect(look()).rejects.toMatchObject({ code: 'RootUnavailable' });
  });

  it('keeps an object that it may not look at, where the key does not say whose it is', async () => {
    const destination = (bucket: string) => ({ bucket, prefix: 'to/', keyTemplate: '{dir}{name}' });
    const job = await jobOf({ a: 'a', b: 'b' }, { deletions: { maxShare: 1 }, destination });
    await send(job);
    await schema.pool.query('UPDATE files SET gone = true WHERE upload_job_id = $1', [job.job]);
    await rm(join(root, 'job'), { recursive: true });
    await mkdir(join(root, 'job'));
    proxy.fault({ op: 'HeadObject', key: 'to/a' }, faults.status(403, 'AccessDenied'));
    await new MockActivityEnvironment().run(createDeleteGone(deps()), { ...job, budget: 20 });
    expect(await keysIn(job.bucket)).toEqual(['to/a']);
  });
});
