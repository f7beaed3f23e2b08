/** The files of a job as lists and comparisons read them. */
import type { JobFile } from '../../core/jobs.js';
import type { FileState } from '../../core/states.js';
import { checkPage } from './paging.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { numberOrNull } from './values.js';

/** An object that the catalog vouches for. */
export interface UploadedFile {
  path: string;
  size: number;
  mtimeNs: string | null;
  marker: boolean;
  checksum: string | null;
  etag: string | null;
  versionId: string | null;
}

/** A file as lists show it, without its key, which follows from the job's destination. */
export interface FileRow extends Omit<JobFile, 'key'> {
  /** The file's number. */
  id: number;
  mtimeNs: string | null;
  large: boolean;
  marker: boolean;
  /** The upload of a large file. */
  uploadId: string | null;
}

export interface ListFiles {
  state?: FileState | undefined;
  /** Only paths that begin so. */
  prefix?: string | undefined;
  /** `next` of the page before: a path. */
  after?: string | undefined;
  /** Rows of one page, 1 to 1,000. */
  limit: number;
}

interface RawFile {
  id: string;
  path: string;
  state: FileState;
  size: string | null;
  mtime_ns: string | null;
  large: boolean;
  marker: boolean;
  attempts: number;
  failure_code: string | null;
  failure_reason: string | null;
  checksum: string | null;
  etag: string | null;
  version_id: string | null;
  upload_id: string | null;
  created_at: Date;
  updated_at: Date;
}

/** Uploaded files after the path `after`, in path order. */
export async function readUploaded(
  db: Queryable,
  job: number,
  page: { after: string | null; limit: number },
): Promise<UploadedFile[]> {
  const { rows } = await query<RawFile>(db, 'readUploaded', {
    name: 'read-uploaded-files',
    text: `SELECT path, size, mtime_ns, marker, checksum, etag, version_id FROM files
      WHERE upload_job_id = $1 AND path > $2 AND state = 'UPLOADED' AND NOT gone ORDER BY path LIMIT $3`,
    values: [job, page.after ?? '', page.limit],
  });
  return rows.map((raw) => ({
    path: raw.path,
    size: Number(raw.size),
    mtimeNs: raw.mtime_ns,
    marker: raw.marker,
    checksum: raw.checksum,
    etag: raw.etag,
    versionId: raw.version_id,
  }));
}

/** A row that is pending is on its way while its batch runs, or its upload is begun. */
const ON_ITS_WAY = `(upload_id IS NOT NULL OR batch IN (
  SELECT batch FROM upload_batches WHERE upload_job_id = $1 AND running))
  AND generation = (SELECT generation FROM upload_jobs WHERE no = $1)`;

const CONDITION: Record<FileState, string> = {
  PENDING: `state = 'PENDING' AND (${ON_ITS_WAY}) IS NOT TRUE`,
  IN_PROGRESS: `state = 'PENDING' AND ${ON_ITS_WAY}`,
  UPLOADED: `state = 'UPLOADED'`,
  // The code is what the index goes by.
  FAILED: `state = 'FAILED' AND failure_code IS NOT NULL`,
  SKIPPED: `state = 'SKIPPED' AND failure_code IS NOT NULL`,
};

/** Past every name that begins with the prefix. */
const PAST = '\u{10FFFF}'.repeat(4);

/** In path order; what is gone is left out. Throws InvalidInput for a bad limit. */
export async function listFiles(
  db: Queryable,
  job: number,
  ask: ListFiles,
): Promise<{ rows: FileRow[]; next?: string }> {
  checkPage(ask.limit, 'listFiles');
  const given: unknown[] = [job];
  const bind = (value: unknown): string => `$${given.push(value)}`;
  const conditions = ['upload_job_id = $1', 'NOT gone'];
  if (ask.state !== undefined) conditions.push(CONDITION[ask.state]);
  if (ask.after !== undefined) conditions.push(`path > ${bind(ask.after)}`);
  if (ask.prefix !== undefined && ask.prefix !== '') {
    conditions.push(`path >= ${bind(ask.prefix)}`, `path < ${bind(ask.prefix + PAST)}`);
  }
  const { rows } = await query<RawFile>(db, 'listFiles', {
    text: `SELECT id, path, size, mtime_ns, large, marker, attempts, failure_code, failure_reason, checksum, etag,
        version_id, upload_id, created_at, updated_at,
        CASE WHEN state = 'PENDING' AND ${ON_ITS_WAY} THEN 'IN_PROGRESS' ELSE state END AS state
      FROM files WHERE ${conditions.join(' AND ')} ORDER BY path LIMIT ${bind(ask.limit + 1)}`,
    values: given,
  });
  const page = rows.slice(0, ask.limit).map(toFileRow);
  const last = page.at(-1);
  return rows.length > ask.limit && last !== undefined ? { rows: page, next: last.path } : { rows: page };
}

function toFileRow(raw: RawFile): FileRow {
  return {
    id: Number(raw.id),
    path: raw.path,
    state: raw.state,
    size: numberOrNull(raw.size),
    mtimeNs: raw.mtime_ns,
    mtime: raw.mtime_ns === null ? null : new Date(Number(BigInt(raw.mtime_ns) / 1_000_000n)).toISOString(),
    large: raw.large,
    marker: raw.marker,
    attempts: raw.attempts,
    failureCode: raw.failure_code,
    failureReason: raw.failure_reason,
    checksum: raw.checksum,
    etag: raw.etag,
    versionId: raw.version_id,
    uploadId: raw.upload_id,
    createdAt: raw.created_at.toISOString(),
    updatedAt: raw.updated_at.toISOString(),
  };
}
