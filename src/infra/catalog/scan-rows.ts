/** The rows that a scan makes: new ones by COPY, a million in seconds; known ones by an upsert. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { JobRef } from '../../core/job-steps.js';
import { catalogError, query } from './pool.js';
import type { Queryable } from './pool.js';
import { nanoseconds, printable } from './values.js';

export interface ScannedFile {
  path: string;
  state: 'PENDING' | 'FAILED' | 'SKIPPED';
  size: number | null;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | null;
  /** null for large files, and for those that are not sent. */
  batch: number | null;
  large: boolean;
  /** An empty folder's marker. */
  marker: boolean;
  failureCode?: string;
  failureReason?: string;
}

const COLUMNS = [
  'upload_job_id',
  'generation',
  'path',
  'state',
  'size',
  'mtime_ns',
  'batch',
  'large',
  'marker',
  'failure_code',
  'failure_reason',
] as const;

/** Writes the rows of a chunk, straight where nothing of them is known. `client` is in a transaction. */
export async function writeRows(
  client: PoolClient,
  ref: JobRef,
  scanned: readonly ScannedFile[],
): Promise<void> {
  const rows = withoutTwins(scanned);
  if (rows.length === 0) return;
  if (await anyKnown(client, ref.job, rows)) await upsertRows(client, ref, rows);
  else await copyRows(client, ref, rows);
}

/** Two names can be shown alike when one of them is no UTF-8: the one that can be sent has the row. */
function withoutTwins(rows: readonly ScannedFile[]): readonly ScannedFile[] {
  const byPath = new Map<string, ScannedFile>();
  for (const row of rows) {
    if (row.state === 'PENDING' || !byPath.has(row.path)) byPath.set(row.path, row);
  }
  return byPath.size === rows.length ? rows : [...byPath.values()];
}

async function anyKnown(db: Queryable, job: number, rows: readonly ScannedFile[]): Promise<boolean> {
  const bytes = rows.map(({ path }) => Buffer.from(path));
  let [least, greatest] = [bytes[0], bytes[0]];
  for (const each of bytes) {
    if (least === undefined || Buffer.compare(each, least) < 0) least = each;
    if (greatest === undefined || Buffer.compare(each, greatest) > 0) greatest = each;
  }
  const { rows: found } = await query<{ known: boolean }>(db, 'writeScan', {
    name: 'any-known-file',
    text: `SELECT EXISTS (
      SELECT FROM files WHERE upload_job_id = $1 AND path >= $2 AND path <= $3 ORDER BY path LIMIT 1) AS known`,
    values: [job, least?.toString(), greatest?.toString()],
  });
  return found[0]?.known === true;
}

async function copyRows(client: PoolClient, ref: JobRef, rows: readonly ScannedFile[]): Promise<void> {
  const stream = client.query(copyFrom(`COPY files (${COLUMNS.join(', ')}) FROM STDIN`));
  try {
    await pipeline(Readable.from(copyText(ref, rows), { objectMode: false }), stream);
  } catch (error) {
    throw catalogError(error, 'writeScan');
  }
}

const PIECE = 64 * 1024;

function* copyText(ref: JobRef, rows: readonly ScannedFile[]): Generator<Buffer> {
  let text = '';
  for (const row of rows) {
    text += `${[ref.job, ref.generation, ...values(row)].map(copyValue).join('\t')}\n`;
    if (text.length < PIECE) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}

const SPECIAL = /[\\\t\n\r]/g;
const ESCAPED: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** COPY's text format: a name may hold what it parts its columns and rows with, or look like its null. */
function copyValue(value: Value): string {
  if (value === null) return '\\N';
  if (typeof value !== 'string') return String(value);
  return value.replace(SPECIAL, (found) => ESCAPED[found] ?? found);
}

type Value = string | number | boolean | null;

/** In the order of COLUMNS, after job and generation. */
function values(row: ScannedFile): [string, string, ...Value[]] {
  const code = row.state === 'PENDING' ? null : (row.failureCode ?? DEFAULT_CODE[row.state]);
  const reason = code === null || row.failureReason === undefined ? null : printable(row.failureReason);
  return [
    row.path,
    row.state,
    row.size,
    nanoseconds(row.mtimeNs),
    row.batch,
    row.large,
    row.marker,
    code,
    reason,
  ];
}

export const DEFAULT_CODE = { FAILED: 'Internal', SKIPPED: 'Skipped' } as const;

/**
 * What is known of the object in the bucket stays, since it is there until another one is. A row of this very run gives
 * way only to one that can be sent: names that are no UTF-8 may be shown like another.
 */
const UPSERT = `
INSERT INTO files AS f (${COLUMNS.join(', ')})
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[], $8::boolean[],
  $9::boolean[], $10::text[], $11::text[])
ON CONFLICT (upload_job_id, path) DO UPDATE SET
  generation = EXCLUDED.generation, state = EXCLUDED.state, size = EXCLUDED.size, mtime_ns = EXCLUDED.mtime_ns,
  batch = EXCLUDED.batch, large = EXCLUDED.large, marker = EXCLUDED.marker, failure_code = EXCLUDED.failure_code,
  failure_reason = EXCLUDED.failure_reason, gone = false, attempts = 0, upload_id = NULL,
  id = CASE WHEN EXCLUDED.large THEN EXCLUDED.id ELSE f.id END, updated_at = now()
WHERE f.generation < EXCLUDED.generation OR EXCLUDED.state = 'PENDING'`;

async function upsertRows(db: Queryable, ref: JobRef, rows: readonly ScannedFile[]): Promise<void> {
  const columns: Value[][] = COLUMNS.slice(2).map(() => []);
  for (const row of rows) values(row).forEach((value, index) => columns[index]?.push(value));
  await query(db, 'writeScan', {
    name: 'upsert-files',
    text: UPSERT,
    values: [ref.job, ref.generation, ...columns],
  });
}

/** Files that the tree has no more: what never reached the bucket is forgotten, the rest is marked. */
export async function markGone(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  await query(db, 'writeScan', {
    name: 'mark-gone-files',
    text: `WITH never AS (
        DELETE FROM files WHERE upload_job_id = $1 AND path = ANY ($2::text[]) AND NOT stored
      )
      UPDATE files SET gone = true, updated_at = now()
      WHERE upload_job_id = $1 AND path = ANY ($2::text[]) AND stored AND NOT gone`,
    values: [ref.job, paths],
  });
}

/** A file is there again. Where a deletion of its object was begun, the object may be missing, and the file is to be sent. */
export const BACK = `gone = false, updated_at = now(), state = CASE WHEN f.stored THEN f.state ELSE 'PENDING' END`;

/** Files that are there again, or may be. */
export async function markBack(db: Queryable, ref: JobRef, paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  await query(db, 'writeScan', {
    name: 'mark-back-files',
    text: `UPDATE files f SET ${BACK} WHERE upload_job_id = $1 AND path = ANY ($2::text[]) AND gone`,
    values: [ref.job, paths],
  });
}
