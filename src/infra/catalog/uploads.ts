/** The table of object uploads: written by reports of their workflows, read by lists and by `status`. */
import type { FailureView } from '../../core/errors.js';
import { isTerminal, type UploadState } from '../../core/states.js';
import type { Source, UploadReport, Verification } from '../../core/uploads.js';
import { wipeKeysOf } from '../keys/key-store.js';
import { uploadEnded, uploadEnding } from './ended.js';
import { renewNode } from './node-renewal.js';
import { readPage, type Page, type PageAsk } from './paging.js';
import { query, transaction } from './pool.js';
import type { Pool, PoolClient, Queryable } from './pool.js';
import { endSession } from './session-end.js';
import { failureOrNull, printable } from './values.js';

/** Sizes in bytes, times ISO 8601 in UTC; null where nothing is known (yet). */
export interface UploadRow {
  id: string;
  workflowId: string;
  runId: string;
  runStartedAt: string;
  sequence: number;
  installation: string;
  bucket: string;
  key: string;
  sourceKind: Source['kind'];
  sourceLabel: string;
  state: UploadState;
  size: number | null;
  partSize: number | null;
  parts: number | null;
  generations: number | null;
  s3UploadId: string | null;
  bytesSent: number | null;
  checksum: string | null;
  verification: Verification | null;
  etag: string | null;
  versionId: string | null;
  /** Runs of this id. */
  attempts: number;
  failure: FailureView | null;
  /** Start of the first run. */
  createdAt: string;
  /** When this run was first seen past PENDING. */
  startedAt: string | null;
  finishedAt: string | null;
  updatedAt: string;
}

/** Columns that a report may leave as they are, with what it says of them. */
const KEPT = ['size', 'part_size', 'parts', 'generations', 's3_upload_id'] as const;
/** Columns of a result; a new run begins without them. */
const RESULT = ['bytes_sent', 'checksum', 'verification', 'etag', 'version_id'] as const;
const FAILURE = ['failure_code', 'failure_reason', 'failure_hint', 'failure_op', 'failure_key'] as const;
const ALWAYS = [
  'id',
  'workflow_id',
  'run_id',
  'run_started_at',
  'sequence',
  'installation',
  'bucket',
  'key',
  'source_kind',
  'source_label',
  'state',
] as const;
const REPORTED = [...ALWAYS, ...KEPT, ...RESULT, ...FAILURE];

const PLACE = (column: (typeof REPORTED)[number]): string => `$${REPORTED.indexOf(column) + 1}`;
const SIZE_KNOWN = `$${REPORTED.length + 1}`;
const NEW_RUN = 'EXCLUDED.run_id <> u.run_id';
const STARTED = `CASE WHEN EXCLUDED.state <> 'PENDING' THEN now() END`;
const TERMINAL = `('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')`;
const FINISHED = `CASE WHEN EXCLUDED.state IN ${TERMINAL} THEN now() END`;

/**
 * One statement, so that two writers cannot slip between reading and writing. What a report leaves out keeps its value;
 * a failure stays only with the states that have one, so that a resumed upload no longer shows why it was blocked.
 */
const REPORT = `
INSERT INTO object_uploads AS u (${REPORTED.join(', ')}, created_at, started_at, finished_at)
VALUES (${REPORTED.map(PLACE).join(', ')}, ${PLACE('run_started_at')},
  CASE WHEN ${PLACE('state')} <> 'PENDING' THEN now() END,
  CASE WHEN ${PLACE('state')} IN ${TERMINAL} THEN now() END)
ON CONFLICT (id) DO UPDATE SET
  ${ALWAYS.filter((column) => column !== 'id')
    .map((column) => `${column} = EXCLUDED.${column}`)
    .join(', ')},
  size = CASE WHEN ${SIZE_KNOWN}::boolean THEN EXCLUDED.size ELSE u.size END,
  ${KEPT.filter((column) => column !== 'size')
    .map((column) => `${column} = coalesce(EXCLUDED.${column}, u.${column})`)
    .join(', ')},
  ${RESULT.map((column) => `${column} = coalesce(EXCLUDED.${column}, CASE WHEN ${NEW_RUN} THEN NULL ELSE u.${column} END)`).join(',\n  ')},
  ${FAILURE.map(
    (column) => `${column} = CASE
    WHEN EXCLUDED.failure_code IS NOT NULL OR ${NEW_RUN} OR EXCLUDED.state NOT IN ('BLOCKED', 'FAILED', 'CANCELLED', 'EXPIRED')
    THEN EXCLUDED.${column} ELSE u.${column} END`,
  ).join(',\n  ')},
  attempts = u.attempts + CASE WHEN ${NEW_RUN} THEN 1 ELSE 0 END,
  started_at = coalesce(CASE WHEN ${NEW_RUN} THEN NULL ELSE u.started_at END, ${STARTED}),
  finished_at = ${FINISHED},
  updated_at = now()
WHERE (EXCLUDED.run_started_at, EXCLUDED.sequence) > (u.run_started_at, u.sequence)`;

/**
 * Writes what a workflow says of itself. (runStartedAt, sequence) only moves forward: a repeated or late report changes
 * nothing, and neither is an error. Throws CatalogUnavailable while PostgreSQL is away.
 */
export async function reportUpload(db: Pool, installation: string, report: UploadReport): Promise<void> {
  if (!isTerminal(report.state)) {
    await writeReport(db, installation, report);
    return;
  }
  await transaction(db, 'reportUpload', async (tx) => {
    const node = await uploadEnding(tx, report);
    const moved = await writeReport(tx, installation, report);
    if (!moved) return;
    await settleEnd(tx, report);
    await uploadEnded(tx, installation, report, node);
  });
}

/** All that an end brings with it. Together with the report, so that it happens once, and never without it. */
async function settleEnd(tx: PoolClient, report: UploadReport): Promise<void> {
  if (report.source.kind === 'client') await endSession(tx, report);
  await renewNode(tx, report);
  await wipeKeysOf(tx, report.id);
}

/** False when the report came late, or again. */
async function writeReport(db: Queryable, installation: string, report: UploadReport): Promise<boolean> {
  const { rowCount } = await query(db, 'reportUpload', {
    name: 'report-upload',
    text: REPORT,
    values: [...values(installation, report), report.size !== undefined || report.result !== undefined],
  });
  return rowCount === 1;
}

function values(installation: string, report: UploadReport): unknown[] {
  const { result, failure, destination, source } = report;
  const always = [
    report.id,
    report.workflowId,
    report.runId,
    report.runStartedAt,
    report.sequence,
    installation,
    destination.bucket,
    destination.key,
    source.kind,
    printable(source.label),
    report.state,
  ];
  const kept = [
    result?.size ?? report.size,
    report.partSize,
    result?.parts ?? report.parts,
    result?.generations ?? report.generations,
    report.s3UploadId,
  ];
  const ended = [result?.bytesSent, result?.checksum, result?.verification, result?.etag, result?.versionId];
  const failed = [failure?.code, failure?.message, failure?.hint, failure?.op, failure?.key];
  const texts = failed.map((text) => (text === undefined ? undefined : printable(text)));
  return [...always, ...kept, ...ended, ...texts].map((value) => value ?? null);
}

export async function getUpload(db: Queryable, id: string): Promise<UploadRow | undefined> {
  const { rows } = await query<RawRow>(db, 'getUpload', {
    name: 'get-upload',
    text: 'SELECT * FROM object_uploads WHERE id = $1',
    values: [id],
  });
  return rows[0] === undefined ? undefined : toRow(rows[0]);
}

export interface ListUploads extends PageAsk {
  state?: UploadState | undefined;
  bucket?: string | undefined;
}

export type UploadPage = Page<UploadRow>;

/** Newest first. Rows that arrive meanwhile neither shift nor repeat a page. Throws InvalidInput for a bad cursor or limit. */
export async function listUploads(db: Queryable, ask: ListUploads): Promise<UploadPage> {
  const { state, bucket } = ask;
  const filters = { state, bucket };
  const idOf = ({ id }: UploadRow): string => id;
  return await readPage(db, { op: 'listUploads', from: 'object_uploads', filters, toRow, idOf }, ask);
}

/** As pg gives it: bigint as text, times as Date. */
export type RawRow = Record<string, string | number | Date | null>;

export function toRow(raw: RawRow): UploadRow {
  const text = (column: string) => raw[column] as string;
  const maybe = (column: string) => raw[column] as string | null;
  const count = (column: string) => (raw[column] === null ? null : Number(raw[column]));
  const time = (column: string) => (raw[column] === null ? null : (raw[column] as Date).toISOString());
  return {
    id: text('id'),
    workflowId: text('workflow_id'),
    runId: text('run_id'),
    runStartedAt: (raw['run_started_at'] as Date).toISOString(),
    sequence: Number(raw['sequence']),
    installation: text('installation'),
    bucket: text('bucket'),
    key: text('key'),
    sourceKind: text('source_kind') as UploadRow['sourceKind'],
    sourceLabel: text('source_label'),
    state: text('state') as UploadState,
    size: count('size'),
    partSize: count('part_size'),
    parts: count('parts'),
    generations: count('generations'),
    s3UploadId: maybe('s3_upload_id'),
    bytesSent: count('bytes_sent'),
    checksum: maybe('checksum'),
    verification: maybe('verification') as Verification | null,
    etag: maybe('etag'),
    versionId: maybe('version_id'),
    attempts: Number(raw['attempts']),
    failure: failureOrNull(raw),
    createdAt: (raw['created_at'] as Date).toISOString(),
    startedAt: time('started_at'),
    finishedAt: time('finished_at'),
    updatedAt: (raw['updated_at'] as Date).toISOString(),
  };
}
