/** `longshore limit`: how fast a job may be, also while it runs; for all workers together. */
import { EXIT } from '../../../core/errors.js';
import type { JobLimits } from '../../../core/jobs.js';
import { setLimits } from '../../../infra/catalog/jobs.js';
import type { Io } from '../io.js';
import { withJobCatalog } from '../job-catalog.js';
import { limitsText } from '../job-describe.js';
import { readJobId } from '../job-find.js';
import { positive } from '../job-options.js';
import { badUsage, count, size, type Connections } from '../options.js';
import { configure } from '../session.js';

export interface LimitOptions extends Connections {
  bandwidth?: string;
  concurrency?: string;
}

/** Throws NotFound. */
export async function run(io: Io, options: LimitOptions, text: string): Promise<number> {
  const id = readJobId(text);
  const limits = asked(options);
  return await withJobCatalog(configure(io, options), async (catalog) => {
    await setLimits(await catalog.pool(), id, limits);
    const { limits: now, state } = await catalog.rowOf(id);
    if (io.json) io.outJson({ id, state, ...now });
    else io.out(`${id}: ${limitsText(now)}`);
    return EXIT.ok;
  });
}

function asked({ bandwidth, concurrency }: LimitOptions): Partial<JobLimits> {
  const limits: Partial<JobLimits> = {};
  if (bandwidth !== undefined) {
    limits.bandwidth =
      bandwidth === 'none' ? null : (positive('--bandwidth', size('--bandwidth', bandwidth)) ?? null);
  }
  if (concurrency !== undefined) {
    limits.concurrency = concurrency === 'none' ? null : count('--concurrency', concurrency);
  }
  if (Object.keys(limits).length === 0) throw badUsage('give --bandwidth, --concurrency or both');
  return limits;
}
