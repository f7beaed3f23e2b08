/** What the scan of a folder reads and writes: rows of files and its own progress, in one transaction. */
import type { JobRef } from '../../core/job-steps.js';
import type { FileState } from '../../core/states.js';
import { fenced } from './fence.js';
import { query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';
import { addBatches, lockProgress } from './scan-progress.js';
import type { Batch, OpenBatch, ScanFound } from './scan-progress.js';
import { markBack, markGone, writeRows } from './scan-rows.js';
import type { ScannedFile } from './scan-rows.js';
import { numberOrNull } from './values.js';

export { NOTHING_FOUND, scanProgress } from './scan-progress.js';
export type { Batch, OpenBatch, ScanFound, ScanProgress } from './scan-progress.js';
export type { ScannedFile } from './scan-rows.js';

/** What the catalog knows of a file. */
export interface ManifestRow {
  path: string;
  state: Exclude<FileState, 'IN_PROGRESS'>;
  size: number | null;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | null;
  /** `crc32:<base64>`. */
  checksum: string | null;
  gone: boolean;
  /** The last run that had something to do with it. */
  generation: number;
}

export interface ScanChunk {
  /** The cursor that this chunk goes on from: that of the chunk before, or of `scanProgress`. */
  follows: string | null;
  /** Where the next one goes on; opaque here. Other than `follows` unless `done`. */
  cursor: string | null;
  done: boolean;
  rows: readonly ScannedFile[];
  /** Paths of the manifest that the tree has no more. */
  gone: readonly string[];
  /** Paths that were gone, and are there again as they were; their objects were left in the bucket. */
  back?: readonly string[];
  /** Batches that were closed by this chunk. */
  batches: readonly Batch[];
  openBatch: OpenBatch | null;
  /** This chunk included. */
  found: ScanFound;
}

interface RawManifest extends Omit<ManifestRow, 'size' | 'mtimeNs'> {
  size: string | null;
  mtime_ns: string | null;
}

/** Rows after the path `after`, in the byte order of their paths; those that are gone included. */
export async function readManifest(
  db: Queryable,
  job: number,
  page: { after: string | null; limit: number },
): Promise<ManifestRow[]> {
  const { rows } = await query<RawManifest>(db, 'readManifest', {
    name: 'read-manifest',
    text: `SELECT path, state, size, mtime_ns, checksum, gone, generation FROM files
      WHERE upload_job_id = $1 AND path > $2 ORDER BY path LIMIT $3`,
    // No path is empty, so the empty one is before all.
    values: [job, page.after ?? '', page.limit],
  });
  // Field by field: a spread costs as much as reading the row does.
  return rows.map((row) => ({
    path: row.path,
    state: row.state,
    size: numberOrNull(row.size),
    mtimeNs: row.mtime_ns,
    checksum: row.checksum,
    gone: row.gone,
    generation: row.generation,
  }));
}

/**
 * Rows and progress, both or neither. Throws AttemptFenced when the stored progress is not what the chunk follows, or
 * a newer run has the job: what it says is then known already, or out of date. After any other failure ask `scanProgress`.
 */
export async function writeScan(pool: Pool, ref: JobRef, chunk: ScanChunk): Promise<void> {
  if (chunk.cursor === chunk.follows && !chunk.done) {
    throw new TypeError('a chunk that does not move the cursor could be written twice');
  }
  await transaction(pool, 'writeScan', async (client) => {
    const progress = await lockProgress(client, ref);
    if (progress.done || progress.cursor !== chunk.follows) {
      throw fenced('writeScan', ref, 'the scan has gone on without this attempt');
    }
    await writeRows(client, ref, chunk.rows);
    await markGone(client, ref, chunk.gone);
    await markBack(client, ref, chunk.back ?? []);
    await addBatches(client, ref.job, chunk.batches);
    await query(client, 'writeScan', {
      name: 'write-scan-progress',
      text: `UPDATE upload_jobs SET scan_cursor = $2, scan_done = $3, scan_found = $4, scan_open = $5, batches = $6,
        updated_at = now() WHERE no = $1`,
      values: [
        ref.job,
        chunk.cursor,
        chunk.done,
        JSON.stringify(chunk.found),
        chunk.openBatch === null ? null : JSON.stringify(chunk.openBatch),
        Math.max(progress.batches, ...chunk.batches.map(({ batch }) => batch)),
      ],
    });
  });
  if (chunk.done && chunk.found.pendingFiles >= WORTH_ANALYZING) {
    // Until the server's own round finds the new rows, it would sort what an index has in order already.
    await query(pool, 'writeScan', { text: 'ANALYZE files' });
  }
}

const WORTH_ANALYZING = 5_000;
