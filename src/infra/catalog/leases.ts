/** Who moves bytes of a job just now, so that its limits are shared among all workers. */
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export interface JobShare {
  /** Holders with a lease that is in time, this one included. */
  holders: number;
  /** This one's place among them, from 0: what cannot be divided goes to the first. */
  rank: number;
  /** Of the whole job, bytes a second; null: no limit. */
  bandwidth: number | null;
  /** Of the whole job, files in flight; null: no limit. */
  concurrency: number | null;
}

interface RawShare {
  holders: string;
  rank: string;
  bandwidth: string | null;
  concurrency: number | null;
}

/** Takes the lease or prolongs it for `ttlMs` from now, by the clock of PostgreSQL. A job that was deleted has no limits. */
export async function renewLease(
  db: Queryable,
  job: number,
  holder: string,
  ttlMs: number,
): Promise<JobShare> {
  const { rows } = await query<RawShare>(db, 'renewLease', {
    name: 'renew-lease',
    text: RENEW,
    values: [job, holder, ttlMs],
  });
  const row = rows[0];
  if (row === undefined) return { holders: 1, rank: 0, bandwidth: null, concurrency: null };
  return {
    holders: Number(row.holders),
    rank: Number(row.rank),
    bandwidth: row.bandwidth === null ? null : Number(row.bandwidth),
    concurrency: row.concurrency,
  };
}

/** Success also when there is none. */
export async function dropLease(db: Queryable, job: number, holder: string): Promise<void> {
  await query(db, 'dropLease', {
    name: 'drop-lease',
    text: 'DELETE FROM job_leases WHERE upload_job_id = $1 AND holder = $2',
    values: [job, holder],
  });
}

/** Those that died without dropping their lease are removed on the way; skipping locked ones, no two renewals wait in a circle. */
const RENEW = `
WITH mine AS (
  INSERT INTO job_leases AS l (upload_job_id, holder, expires_at)
  SELECT no, $2::uuid, clock_timestamp() + $3 * interval '1 millisecond' FROM upload_jobs WHERE no = $1
  ON CONFLICT (upload_job_id, holder) DO UPDATE SET expires_at = EXCLUDED.expires_at
), dead AS (
  DELETE FROM job_leases WHERE upload_job_id = $1 AND holder IN (
    SELECT holder FROM job_leases
    WHERE upload_job_id = $1 AND holder <> $2::uuid AND expires_at < clock_timestamp() - interval '1 minute'
    FOR UPDATE SKIP LOCKED)
)
SELECT j.bandwidth, j.concurrency, 1 + others.count AS holders, others.before AS rank
FROM upload_jobs j, (
  SELECT count(*), count(*) FILTER (WHERE holder < $2::uuid) AS before FROM job_leases
  WHERE upload_job_id = $1 AND holder <> $2::uuid AND expires_at > clock_timestamp()) others
WHERE j.no = $1`;
