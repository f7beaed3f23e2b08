/** Folders for jobs in fault tests, and whether bucket, catalog and folder say the same. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { expect } from 'vitest';
import { defineJob, type JobSpec } from '../../src/client/job-spec.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { listFiles } from '../../src/infra/catalog/files.js';
import { getJob, jobCounts } from '../../src/infra/catalog/jobs.js';
import type { Queryable } from '../../src/infra/catalog/pool.js';
import type { TestBucket } from './buckets.js';
import { objectSha256, type Rig } from './rig.js';

export interface JobFolder {
  path: string;
  /** MD5 of each small file by its path: what S3 answers as the ETag of one that came in one piece. */
  small: Map<string, { size: number; md5: string }>;
  large?: { path: string; size: number; sha256: string };
}

export interface FolderShape {
  files: number;
  /** Bytes of each; default between 100 and 1,100. */
  size?: number;
  /** Bytes of a large one beside them. */
  large?: number;
}

const PER_FOLDER = 100;

export async function jobFolder(rig: Rig, { files, size, large }: FolderShape): Promise<JobFolder> {
  const path = join(rig.folder, randomUUID());
  const small: JobFolder['small'] = new Map();
  const source = randomBytes(size ?? 1100);
  for (let index = 0; index < files; index++) {
    const name = `d${Math.floor(index / PER_FOLDER)}/f${index}`;
    if (index % PER_FOLDER === 0) await mkdir(join(path, `d${index / PER_FOLDER}`), { recursive: true });
    // No two are alike: the first bytes are the number.
    source.writeUInt32BE(index, 0);
    const bytes = source.subarray(0, size ?? 100 + (index % 1001));
    await writeFile(join(path, name), bytes);
    small.set(name, { size: bytes.length, md5: createHash('md5').update(bytes).digest('hex') });
  }
  if (large === undefined) return { path, small };
  const { sha256 } = await rig.file(large, join(basename(path), 'large.bin'));
  return { path, small, large: { path: 'large.bin', size: large, sha256 } };
}

export function jobOf(
  rig: Rig,
  folder: JobFolder,
  bucket: TestBucket,
  change: Partial<JobSpec> = {},
): JobDefinition {
  const { roots } = rig.config;
  const destination = `s3://${bucket.name}/in`;
  return defineJob({ folder: folder.path, destination, ...change }, { roots, cwd: rig.folder });
}

/** Throws unless bucket, catalog and folder hold the very same files, and the job's own counts say so too. */
export async function expectExact(
  db: Queryable,
  id: string,
  folder: JobFolder,
  bucket: TestBucket,
): Promise<void> {
  const { small, large } = folder;
  const inFolder = new Map([...small].map(([path, { size, md5 }]) => [`in/${path}`, `${size} ${md5}`]));
  const inBucket = await listed(bucket);
  const job = await getJob(db, id);
  const inCatalog = await uploaded(db, job?.no ?? 0);
  if (large !== undefined) {
    const key = `in/${large.path}`;
    // The ETag of one in parts is the server's own matter; the catalog is to have the very one.
    expect(inBucket.get(key)).toMatch(`${large.size} `);
    inFolder.set(key, inBucket.get(key) ?? '');
    expect(await objectSha256(bucket, key)).toBe(large.sha256);
  }
  expect(inBucket).toEqual(inFolder);
  expect(inCatalog).toEqual(inFolder);
  const count = inFolder.size;
  const expected = { totalFiles: count, completedFiles: count, failedFiles: 0 };
  expect(job).toMatchObject({ state: 'COMPLETED', counts: expected });
  expect((await jobCounts(db, [job?.no ?? 0])).get(job?.no ?? 0)).toMatchObject(expected);
}

/** Key → size and ETag. */
async function listed({ client, name }: TestBucket): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let token: string | undefined, more = true; more; more = token !== undefined) {
    const page = await client.send(new ListObjectsV2Command({ Bucket: name, ContinuationToken: token }));
    for (const { Key = '', Size = -1, ETag = '' } of page.Contents ?? [])
      found.set(Key, `${Size} ${bare(ETag)}`);
    token = page.NextContinuationToken;
  }
  return found;
}

async function uploaded(db: Queryable, job: number): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let after: string | undefined, more = true; more; more = after !== undefined) {
    const { rows, next } = await listFiles(db, job, {
      limit: 1000,
      ...(after === undefined ? {} : { after }),
    });
    for (const { path, size, etag, state } of rows)
      found.set(`in/${path}`, state === 'UPLOADED' ? `${size} ${bare(etag ?? '')}` : state);
    after = next;
  }
  return found;
}

function bare(etag: string): string {
  return etag.replaceAll('"', '');
}
