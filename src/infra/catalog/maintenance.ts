/** What sweeps read of the table of uploads, and the table of what they found. */
import type { SweepCounts } from '../../core/maintenance.js';
import type { JobState } from '../../core/states.js';
import { toRow, type RawRow, type UploadRow } from './uploads.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';
import { printable } from './values.js';

/** Names of buckets in one answer. */
const BUCKETS_AT_ONCE = 100;

/** Buckets that this installation's uploads and jobs went to, in order, after `after`; at most 100. */
export async function bucketsAfter(
  db: Queryable,
  installation: string,
  after: string | null,
): Promise<string[]> {
  // From one name straight to the next: there are few buckets and many rows.
  const { rows } = await query<{ bucket: string }>(db, 'bucketsAfter', {
    name: 'buckets-after',
    text: `WITH RECURSIVE found (bucket, nth) AS (
        SELECT $2::text, 0
        UNION ALL
        SELECT least(
          (SELECT u.bucket FROM object_uploads u
            WHERE u.installation = $1 AND u.bucket > f.bucket ORDER BY u.bucket LIMIT 1),
          (SELECT min(j.destination_bucket) FROM upload_jobs j
            WHERE j.installation = $1 AND j.destination_bucket > f.bucket)), nth + 1
        FROM found f WHERE f.bucket IS NOT NULL AND nth < $3
      ) SELECT bucket FROM found WHERE bucket IS NOT NULL AND nth > 0 ORDER BY nth`,
    values: [installation, after ?? '', BUCKETS_AT_ONCE],
  });
  return rows.map(({ bucket }) => bucket);
}

export interface ProbingJob {
  id: string;
  prefix: string;
  /** ISO 8601. */
  createdAt: string;
}

/** This installation's jobs that put their objects under one of these prefixes. */
export async function jobsUnder(
  db: Queryable,
  ask: { installation: string; bucket: string; prefixes: readonly string[] },
): Promise<ProbingJob[]> {
  const { rows } = await query<{ id: string; prefix: string; created_at: Date }>(db, 'jobsUnder', {
    name: 'jobs-under',
    text: `SELECT id, destination_prefix AS prefix, created_at FROM upload_jobs
      WHERE installation = $1 AND destination_bucket = $2 AND destination_prefix = ANY($3)
      ORDER BY created_at, id`,
    values: [ask.installation, ask.bucket, ask.prefixes],
  });
  return rows.map(({ id, prefix, created_at }) => ({ id, prefix, createdAt: created_at.toISOString() }));
}

export interface KeyOwner extends UploadRow {
  /** The multipart upload of its session, which may be newer than the one that was reported. */
  sessionUploadId: string | null;
  /**
   * It is a session: before bytes of it are passed on, an API may begin and abort a multipart upload at its key to see
   * whether the server encrypts, or takes checksums that follow a body. No history tells of those.
   */
  probes: boolean;
}

interface RawOwner extends RawRow {
  session_upload_id: string | null;
  /** 0 or 1. */
  session_probes: number;
}

/** Of `object_uploads u LEFT JOIN sessions s`. */
const OWNER = `u.*, s.s3_upload_id AS session_upload_id,
  (s.id IS NOT NULL)::int AS session_probes`;

function toOwner(raw: RawOwner): KeyOwner {
  return { ...toRow(raw), sessionUploadId: raw.session_upload_id, probes: raw.session_probes === 1 };
}

/**
 * Rows, of whatever installation, that have one of these keys, and either name one of these multipart uploads or were
 * at work at some time between `from` and `until` (ISO 8601).
 */
export async function ownersOf(
  db: Queryable,
  ask: {
    bucket: string;
    keys: readonly string[];
    s3UploadIds: readonly string[];
    from: string;
    until: string;
  },
): Promise<KeyOwner[]> {
  const { rows } = await query<RawOwner>(db, 'ownersOf', {
    name: 'owners-of-keys',
    text: `SELECT ${OWNER}
      FROM object_uploads u LEFT JOIN sessions s ON s.id = u.id
      WHERE u.bucket = $1 AND u.key = ANY($2) AND (
        u.s3_upload_id = ANY($3) OR s.s3_upload_id = ANY($3)
        OR (u.created_at <= $5::timestamptz + interval '1 second'
          AND (u.finished_at IS NULL OR u.finished_at >= $4::timestamptz - interval '1 second')))
      ORDER BY u.created_at, u.id`,
    values: [ask.bucket, ask.keys, ask.s3UploadIds, ask.from, ask.until],
  });
  return rows.map(toOwner);
}

/** This installation's rows that say of themselves that they go on, and were not written since `cutoff`, by id. */
export async function silentRows(
  db: Queryable,
  ask: {
    installation: string;
    cutoff: string;
    after: string | null;
    bucket?: string | undefined;
    limit: number;
  },
): Promise<KeyOwner[]> {
  const { rows } = await query<RawOwner>(db, 'silentRows', {
    name: 'silent-rows',
    text: `SELECT ${OWNER}
      FROM object_uploads u LEFT JOIN sessions s ON s.id = u.id
      WHERE u.installation = $1 AND u.id > $2 AND u.updated_at < $3 AND ($4::text IS NULL OR u.bucket = $4)
        AND u.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')
      ORDER BY u.id LIMIT $5`,
    values: [ask.installation, ask.after ?? '', ask.cutoff, ask.bucket ?? null, ask.limit],
  });
  return rows.map(toOwner);
}

export interface SilentJob {
  id: string;
  no: number;
  generation: number;
  workflowId: string;
  state: JobState;
  bucket: string;
  prefix: string;
  updatedAt: string;
}

/** The same for jobs. */
export async function silentJobs(db: Queryable, ask: Parameters<typeof silentRows>[1]): Promise<SilentJob[]> {
  const { rows } = await query<RawJob>(db, 'silentJobs', {
    name: 'silent-jobs',
    text: `SELECT id, no, generation, workflow_id, state, destination_bucket, destination_prefix, updated_at
      FROM upload_jobs
      WHERE installation = $1 AND id > $2 AND updated_at < $3 AND ($4::text IS NULL OR destination_bucket = $4)
        AND state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
      ORDER BY id LIMIT $5`,
    values: [ask.installation, ask.after ?? '', ask.cutoff, ask.bucket ?? null, ask.limit],
  });
  return rows.map((raw) => ({
    ...{ id: raw.id, no: Number(raw.no), generation: raw.generation, workflowId: raw.workflow_id },
    ...{ state: raw.state, bucket: raw.destination_bucket, prefix: raw.destination_prefix },
    updatedAt: raw.updated_at.toISOString(),
  }));
}

interface RawJob {
  id: string;
  no: string;
  generation: number;
  workflow_id: string;
  state: JobState;
  destination_bucket: string;
  destination_prefix: string;
  updated_at: Date;
}

// ── What was found ───────────────────────────────────────────────────────────────────────────────────────────────

export interface Finding {
  kind: 'multipart' | 'row';
  bucket: string;
  key: string;
  /** S3's id of a multipart upload, or ours of a row. */
  subject: string;
  /** The object upload that it belongs to. */
  owner: string;
  /** ISO 8601: when it was begun, as the server has it; of a row, when it was last written. */
  since: string;
  outcome: 'aborting' | 'aborted' | 'closing' | 'closed' | 'kept' | 'failed';
  reason: string;
}

/** Written again it is as it is said last, but what was done stays done. */
export async function noteFinding(db: Queryable, sweep: string, finding: Finding): Promise<void> {
  const { kind, bucket, key, subject, owner, since, outcome, reason } = finding;
  await query(db, 'noteFinding', {
    name: 'note-finding',
    text: `INSERT INTO sweep_findings AS f (sweep, kind, bucket, key, subject, owner, since, outcome, reason)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
      ON CONFLICT (sweep, kind, bucket, key, subject) DO UPDATE SET
        outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, found_at = now()
      WHERE f.outcome NOT IN ('aborted', 'closed')`,
    values: [sweep, kind, bucket, key, subject, owner, since, outcome, printable(reason)],
  });
}

/** What a sweep that was cut off had begun with in this bucket. */
export async function begunFindings(db: Queryable, sweep: string, bucket: string): Promise<Finding[]> {
  const { rows } = await query<RawFinding>(db, 'begunFindings', {
    name: 'begun-findings',
    text: `SELECT ${COLUMNS} FROM sweep_findings
      WHERE sweep = $1 AND kind = 'multipart' AND bucket = $2 AND outcome = 'aborting'`,
    values: [sweep, bucket],
  });
  return rows.map(toFinding);
}

export interface FindingPage {
  findings: Finding[];
  /** null after the last page. */
  next: string | null;
}

/** What a sweep found, bucket by bucket. */
export async function listFindings(
  db: Queryable,
  { sweep, limit, next }: { sweep: string; limit: number; next?: string | undefined },
): Promise<FindingPage> {
  const after = next === undefined ? ['', '', '', ''] : (JSON.parse(next) as string[]);
  const { rows } = await query<RawFinding>(db, 'listFindings', {
    name: 'list-findings',
    text: `SELECT ${COLUMNS} FROM sweep_findings
      WHERE sweep = $1 AND (kind, bucket, key, subject) > ($2, $3, $4, $5)
      ORDER BY kind, bucket, key, subject LIMIT $6`,
    values: [sweep, ...after, limit + 1],
  });
  const findings = rows.slice(0, limit).map(toFinding);
  const last = findings.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { findings, next: more ? JSON.stringify([last.kind, last.bucket, last.key, last.subject]) : null };
}

export async function countFindings(db: Queryable, sweep: string): Promise<SweepCounts> {
  const { rows } = await query<{ outcome: Finding['outcome']; count: number }>(db, 'countFindings', {
    name: 'count-findings',
    text: 'SELECT outcome, count(*)::int AS count FROM sweep_findings WHERE sweep = $1 GROUP BY outcome',
    values: [sweep],
  });
  const counted = new Map(rows.map(({ outcome, count }) => [outcome, count]));
  const of = (...outcomes: Finding['outcome'][]): number =>
    outcomes.reduce((sum, outcome) => sum + (counted.get(outcome) ?? 0), 0);
  return {
    aborted: of('aborting', 'aborted'),
    closed: of('closing', 'closed'),
    kept: of('kept'),
    failed: of('failed'),
  };
}

/** Removes what sweeps found longer ago; answers how many. */
export async function purgeFindings(db: Queryable, keepMs: number): Promise<number> {
  const { rowCount } = await query(db, 'purgeFindings', {
    text: `DELETE FROM sweep_findings WHERE found_at < now() - $1 * interval '1 millisecond'`,
    values: [keepMs],
  });
  return rowCount ?? 0;
}

const COLUMNS = 'kind, bucket, key, subject, owner, since, outcome, reason';

interface RawFinding {
  kind: Finding['kind'];
  bucket: string;
  key: string;
  subject: string;
  owner: string;
  since: Date;
  outcome: Finding['outcome'];
  reason: string;
}

function toFinding({ since, ...rest }: RawFinding): Finding {
  return { ...rest, since: since.toISOString() };
}
