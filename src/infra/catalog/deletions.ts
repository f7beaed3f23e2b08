/** Objects whose files are gone. */
import type { JobRef } from '../../core/job-steps.js';
import { assertCurrent } from './fence.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { BACK } from './scan-rows.js';

/** An object whose file is gone. */
export interface GoneFile {
  path: string;
  /** As the catalog knew it last; keys may be made of it. */
  mtimeNs: string | null;
  marker: boolean;
  etag: string | null;
  versionId: string | null;
}

/** Objects whose files are gone, and all objects that the catalog knows of this job; one that may be deleted already is gone. Throws AttemptFenced. */
export async function lookAtDeletions(db: Queryable, ref: JobRef): Promise<{ gone: number; known: number }> {
  await assertCurrent(db, ref, 'lookAtDeletions');
  const { rows } = await query<{ gone: string; known: string }>(db, 'lookAtDeletions', {
    text: `SELECT count(*) FILTER (WHERE gone) AS gone, count(*) AS known 
      FROM files WHERE upload_job_id = $1 AND (stored OR gone)`,
    values: [ref.job],
  });
  return { gone: Number(rows[0]?.gone ?? 0), known: Number(rows[0]?.known ?? 0) };
}

interface RawGone {
  path: string;
  mtime_ns: string | null;
  marker: boolean;
  etag: string | null;
  version_id: string | null;
}

/**
 * The first objects to delete after a path, in path order; `forgetFiles` and `keepFiles` take them out of the way. Throws
 * AttemptFenced.
 */
export async function nextGone(db: Queryable, ref: JobRef, limit: number, after = ''): Promise<GoneFile[]> {
  await assertCurrent(db, ref, 'nextGone');
  const { rows } = await query<RawGone>(db, 'nextGone', {
    name: 'next-gone-files',
    text: `SELECT path, mtime_ns, marker, etag, version_id FROM files
      WHERE upload_job_id = $1 AND gone AND path > $3 ORDER BY path LIMIT $2`,
    values: [ref.job, limit, after],
  });
  return rows.map(({ mtime_ns, version_id, ...row }) => ({
    ...row,
    mtimeNs: mtime_ns,
    versionId: version_id,
  }));
}

/**
 * Said before objects are deleted: from now on they may not be there. Should a file come back after an attempt that died
 * in between, `keepFiles` has it sent once more. Throws AttemptFenced.
 */
export async function doubtObjects(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  await assertCurrent(db, ref, 'doubtObjects');
  await query(db, 'doubtObjects', {
    name: 'doubt-objects',
    text: `UPDATE files f SET stored = false FROM upload_jobs j
      WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.path = ANY ($3::text[])
        AND f.gone AND f.stored`,
    values: [ref.job, ref.generation, paths],
  });
}

/** Files that are there after all, or may be: their objects stay. Throws AttemptFenced. */
export async function keepFiles(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  await assertCurrent(db, ref, 'keepFiles');
  await query(db, 'keepFiles', {
    name: 'keep-files',
    text: `UPDATE files f SET ${BACK} FROM upload_jobs j
      WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.path = ANY ($3::text[]) AND f.gone`,
    values: [ref.job, ref.generation, paths],
  });
}

/** The objects are deleted: removes their rows and counts them. Rows that are not gone stay. Throws AttemptFenced. */
export async function forgetFiles(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  await assertCurrent(db, ref, 'forgetFiles');
  await query(db, 'forgetFiles', {
    name: 'forget-files',
    text: `WITH forgotten AS (
        DELETE FROM files f USING upload_jobs j
        WHERE j.no = $1 AND j.generation = $2 AND f.upload_job_id = j.no AND f.path = ANY ($3::text[]) AND f.gone
        RETURNING 1
      )
      UPDATE upload_jobs SET deleted_files = deleted_files + (SELECT count(*) FROM forgotten)
      WHERE no = $1 AND generation = $2`,
    values: [ref.job, ref.generation, paths],
  });
}
