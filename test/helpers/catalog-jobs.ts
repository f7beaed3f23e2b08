/** Upload jobs in the catalog for tests: a definition, a run of it, and chunks of its scan. */
import type { JobRef } from '../../src/core/job-steps.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import { openJob } from '../../src/infra/catalog/jobs.js';
import type { Queryable } from '../../src/infra/catalog/pool.js';
import { NOTHING_FOUND } from '../../src/infra/catalog/scans.js';
import type { ScanChunk, ScannedFile } from '../../src/infra/catalog/scans.js';
import type { FileOutcome } from '../../src/infra/catalog/files.js';

export const definition: JobDefinition = {
  source: { root: 'host', path: 'data' },
  sourceFolder: '/data',
  destination: { bucket: 'b', prefix: 'p/' },
  filter: {},
  objects: {},
  monitor: { enabled: false },
  compare: 'mtime',
  verify: false,
};

export function asked(id: string, runId: string, mode: 'first' | 'sync' | 'retry' = 'first') {
  return {
    id,
    mode,
    workflowId: `job/${id}`,
    runId,
    fingerprint: 'f',
    ...(mode === 'first' ? { definition } : {}),
  };
}

export async function aRun(
  db: Queryable,
  id: string,
  runId = 'run-1',
  mode: 'first' | 'sync' | 'retry' = 'first',
): Promise<JobRef> {
  const { job, generation } = await openJob(db, 'inst', asked(id, runId, mode));
  return { job, generation };
}

export function scanned(path: string, change: Partial<ScannedFile> = {}): ScannedFile {
  return {
    path,
    state: 'PENDING',
    size: 10,
    mtimeNs: '1700000000123456789',
    batch: 1,
    large: false,
    marker: false,
    ...change,
  };
}

/** A whole scan in one chunk; its rows that have a batch make the batches, its counts follow from the rows. */
export function wholeScan(rows: ScannedFile[], change: Partial<ScanChunk> = {}): ScanChunk {
  const found = { ...NOTHING_FOUND };
  const batches = new Map<number, { batch: number; files: number; bytes: number }>();
  for (const { state, size, batch, large } of rows) {
    if (state === 'PENDING') {
      found.pendingFiles += 1;
      found.pendingBytes += size ?? 0;
      if (large) found.largeFiles += 1;
    } else if (state === 'FAILED') found.failedFiles += 1;
    else found.skippedFiles += 1;
    if (batch === null) continue;
    const has = batches.get(batch) ?? { batch, files: 0, bytes: 0 };
    batches.set(batch, { batch, files: has.files + 1, bytes: has.bytes + (size ?? 0) });
  }
  return {
    follows: null,
    cursor: rows.at(-1)?.path ?? null,
    done: true,
    rows,
    gone: [],
    batches: [...batches.values()],
    openBatch: null,
    found,
    ...change,
  };
}

export function uploaded(path: string, change: Partial<FileOutcome> = {}): FileOutcome {
  return {
    path,
    state: 'UPLOADED',
    size: 10,
    mtimeNs: '1700000000123456789',
    checksum: 'crc32:AAAAAA==',
    etag: '"9a0364b9e99bb480dd25e1f0284c8555"',
    sentBytes: 10,
    ...change,
  };
}
