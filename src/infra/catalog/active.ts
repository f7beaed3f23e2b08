/** How much work there is, for metrics. */
import { isTerminal, JOB_STATES, UPLOAD_STATES } from '../../core/states.js';
import { query, type Queryable } from './pool.js';

export interface ActiveCount {
  kind: 'job' | 'upload';
  state: string;
  count: number;
}

const OPEN = {
  job: JOB_STATES.filter((state) => !isTerminal(state)),
  upload: UPLOAD_STATES.filter((state) => !isTerminal(state)),
};

/** Jobs and object uploads that have not ended; each state is there, though it be with 0. */
export async function countActive(db: Queryable): Promise<ActiveCount[]> {
  const { rows } = await query<ActiveCount>(db, 'count active', {
    name: 'active-count',
    text: `SELECT 'job' AS kind, state, count(*)::int AS count FROM upload_jobs WHERE state = ANY($1) GROUP BY state
           UNION ALL
           SELECT 'upload', state, count(*)::int FROM object_uploads WHERE state = ANY($2) GROUP BY state`,
    values: [OPEN.job, OPEN.upload],
  });
  const counted = new Map(rows.map(({ kind, state, count }) => [`${kind} ${state}`, count]));
  return (['job', 'upload'] as const).flatMap((kind) =>
    OPEN[kind].map((state) => ({ kind, state, count: counted.get(`${kind} ${state}`) ?? 0 })),
  );
}
