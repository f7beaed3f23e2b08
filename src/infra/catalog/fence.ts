/** Keeps a run that was overtaken from writing: what it does must name its generation. */
import { LongshoreError } from '../../core/errors.js';
import type { JobRef } from '../../core/job-steps.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export function fenced(op: string, ref: JobRef, why = 'a newer run has the job'): LongshoreError {
  return new LongshoreError('AttemptFenced', why, {
    op,
    key: `job ${ref.job}, generation ${ref.generation}`,
  });
}

/** Throws AttemptFenced unless this run has the job. Writing statements look again for themselves. */
export async function assertCurrent(db: Queryable, ref: JobRef, op: string): Promise<void> {
  const { rows } = await query(db, op, {
    name: 'job-is-current',
    text: 'SELECT FROM upload_jobs WHERE no = $1 AND generation = $2',
    values: [ref.job, ref.generation],
  });
  if (rows.length === 0) throw fenced(op, ref);
}
