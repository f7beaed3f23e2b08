/**
 * job-files-child.js FOLDER BUCKET PREFIX, with DATABASE_URL and the usual AWS variables: sends the files of a folder by
 * our batch activity alone, without Temporal and without the scan. Prints its figures as JSON.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { asyncLocalStorage } from '@temporalio/activity';
import { createUploadFiles } from '../../src/activities/files.js';
import { inLanes } from '../../src/activities/lanes.js';
import { jobWorkflowId } from '../../src/core/ids.js';
import type { JobRef } from '../../src/core/job-steps.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { openJob } from '../../src/infra/catalog/jobs.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { loadConfig } from '../../src/infra/config.js';
import { createLimits } from '../../src/infra/limits.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { context } from './context.js';

const [folder = '', bucket = '', prefix = ''] = process.argv.slice(2);
const BATCH_FILES = 500;
const BATCHES_AT_ONCE = 2;

function definition(): JobDefinition {
  return {
    source: { root: 'host', path: folder.slice(1) },
    sourceFolder: folder,
    destination: { bucket, prefix },
    filter: {},
    objects: {},
    monitor: { enabled: false },
    compare: 'mtime',
    verify: false,
  };
}

/** As the scan would write them. */
async function writeRows(db: Pool, ref: JobRef): Promise<number> {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1))
    .sort();
  const stats = paths.map((path) => statSync(join(folder, path), { bigint: true }));
  const batchOf = (index: number): number => 1 + Math.floor(index / BATCH_FILES);
  const batches = Math.ceil(paths.length / BATCH_FILES);
  await db.query(
    `INSERT INTO files (upload_job_id, path, state, size, mtime_ns, batch, generation)
     SELECT $1, p, 'PENDING', s, m, b, $2 FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::int[]) AS u(p, s, m, b)`,
    [
      ref.job,
      ref.generation,
      paths,
      stats.map(({ size }) => String(size)),
      stats.map(({ mtimeNs }) => String(mtimeNs)),
      paths.map((_, index) => batchOf(index)),
    ],
  );
  await db.query(
    `INSERT INTO upload_batches (upload_job_id, batch, files, bytes)
     SELECT $1, b, 0, 0 FROM generate_series(1, $2::int) b`,
    [ref.job, batches],
  );
  return batches;
}

async function main(): Promise<never> {
  const config = loadConfig({ flags: { roots: 'host=/' } });
  const db = createPool(config.postgresUrl ?? '');
  const store = createObjectStore(config.s3);
  const limits = createLimits(db);
  const id = randomUUID();
  const run = { id, mode: 'first' as const, workflowId: jobWorkflowId(id), runId: randomUUID() };
  const opened = await openJob(db, 'bench', { ...run, definition: definition(), fingerprint: id });
  const ref = { job: opened.job, generation: opened.generation };
  const batches = await writeRows(db, ref);
  const uploadFiles = createUploadFiles({ db, store, limits, roots: config.roots, defaults: config.upload });
  const began = { ms: performance.now(), cpu: process.cpuUsage() };
  const never = new AbortController().signal;
  const sum = { uploaded: 0, failed: 0, left: 0, bytes: 0 };
  const numbers = Array.from({ length: batches }, (_, index) => index + 1);
  await inLanes(numbers, BATCHES_AT_ONCE, { stop: never, abort: never }, async (batch) => {
    const result = await asyncLocalStorage.run(context(), () => uploadFiles({ ...ref, batch }));
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name];
  });
  const { user, system } = process.cpuUsage(began.cpu);
  const cpuMs = (user + system) / 1000;
  const wallMs = performance.now() - began.ms;
  console.log(JSON.stringify({ ...sum, wallMs, cpuMs, cpuMsPerFile: cpuMs / Math.max(1, sum.uploaded) }));
  await limits.close();
  await db.end();
  return process.exit(0);
}

void main();
