/** Files that have an upload of their own. */
import { largeUploadId } from '../../core/ids.js';
import type { LargeInput, LargeOutcome } from '../../core/job-steps.js';
import { assertCurrent } from './fence.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { printable } from './values.js';

/** A large file below the job's folder. */
export interface PendingLarge {
  /** Rises from call to call within a run, also for files that a later round takes up again. */
  file: number;
  path: string;
  size: number;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | undefined;
  /** Id of its upload. */
  uploadId: string;
}

interface RawLarge {
  job_id: string;
  file: string;
  path: string;
  size: string;
  mtime_ns: string | null;
}

/** Pending large files with a number above `after`, marked as on their way. Repeated, it answers the same again. Throws AttemptFenced. */
export async function nextLarge(db: Queryable, input: LargeInput): Promise<PendingLarge[]> {
  await assertCurrent(db, input, 'nextLarge');
  const { rows } = await query<RawLarge>(db, 'nextLarge', {
    name: 'next-large-files',
    text: `SELECT j.id AS job_id, f.id AS file, f.path, f.size, f.mtime_ns FROM upload_jobs j JOIN files f ON f.upload_job_id = j.no
      WHERE j.no = $1 AND j.generation = $2 AND f.generation = $2 AND f.large AND f.state = 'PENDING' AND NOT f.gone
        AND f.id > $3
      ORDER BY f.id LIMIT $4`,
    values: [input.job, input.generation, input.after, input.limit],
  });
  const found = rows.map(({ job_id, file, path, size, mtime_ns }) => ({
    file: Number(file),
    path,
    size: Number(size),
    mtimeNs: mtime_ns ?? undefined,
    uploadId: largeUploadId(job_id, input.generation, Number(file)),
  }));
  if (found.length === 0) return [];
  await query(db, 'nextLarge', {
    name: 'mark-large-files',
    text: `UPDATE files f SET upload_id = o.upload_id, updated_at = now()
      FROM upload_jobs j, unnest($3::bigint[], $4::text[]) AS o (id, upload_id)
      WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.large AND f.id = o.id
        AND f.state = 'PENDING' AND f.generation = $2`,
    values: [
      input.job,
      input.generation,
      found.map(({ file }) => file),
      found.map(({ uploadId }) => uploadId),
    ],
  });
  return found;
}

/** The counters of large files are those of batch 0; it is there from the first that settles. */
const SETTLE_LARGE = `
WITH settled AS (
  UPDATE files f SET state = $4, size = coalesce($5::bigint, f.size), attempts = f.attempts + 1,
    stored = f.stored OR $4 = 'UPLOADED',
    checksum = CASE WHEN $4 = 'UPLOADED' THEN $6 ELSE f.checksum END,
    etag = CASE WHEN $4 = 'UPLOADED' THEN $7 ELSE f.etag END,
    version_id = CASE WHEN $4 = 'UPLOADED' THEN $8 ELSE f.version_id END,
    failure_code = $9, failure_reason = $10, upload_id = $11, updated_at = now()
  FROM upload_jobs j
  WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.large AND f.id = $3::bigint
    AND f.state = 'PENDING' AND f.generation = $2
  RETURNING f.state, f.size
)
INSERT INTO upload_batches AS b (upload_job_id, batch, files, bytes, done_files, done_bytes, sent_bytes, failed_files)
SELECT $1, 0, 0, 0, (state = 'UPLOADED')::integer, CASE WHEN state = 'UPLOADED' THEN size ELSE 0 END, $12::bigint,
  (state = 'FAILED')::integer FROM settled
ON CONFLICT (upload_job_id, batch) DO UPDATE SET done_files = b.done_files + EXCLUDED.done_files,
  done_bytes = b.done_bytes + EXCLUDED.done_bytes, sent_bytes = b.sent_bytes + EXCLUDED.sent_bytes,
  failed_files = b.failed_files + EXCLUDED.failed_files`;

/** A cancelled one is pending again. Nothing changes for a file that is not pending, or not of this run. */
export async function settleLarge(db: Queryable, outcome: LargeOutcome): Promise<void> {
  const { result, failure, cancelled } = outcome;
  const open = result === undefined && cancelled === true;
  const state = result !== undefined ? 'UPLOADED' : open ? 'PENDING' : 'FAILED';
  await query(db, 'settleLarge', {
    name: 'settle-large-file',
    text: SETTLE_LARGE,
    values: [
      outcome.job,
      outcome.generation,
      outcome.file,
      state,
      result?.size ?? null,
      result?.checksum ?? null,
      result?.etag ?? null,
      result?.versionId ?? null,
      state === 'FAILED' ? (failure?.code ?? 'Internal') : null,
      state === 'FAILED' && failure !== undefined ? printable(failure.message) : null,
      open ? null : outcome.uploadId,
      result?.bytesSent ?? 0,
    ],
  });
}
