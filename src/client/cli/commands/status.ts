/** `longshore status`: one upload or job, also with no worker alive. */
import { EXIT } from '../../../core/errors.js';
import { fromRow, fromView, printStatus } from '../describe.js';
import type { Io } from '../io.js';
import { withJobCatalog } from '../job-catalog.js';
import { jobJson, printJob } from '../job-describe.js';
import { findEither, type FoundJob } from '../job-find.js';
import type { Connections } from '../options.js';
import { configure } from '../session.js';
import type { JobCounts } from '../../../core/jobs.js';
import type { Config } from '../../../infra/config.js';
import { asLongshoreError } from '../failure.js';

/** `text` is an id, or says `job/ID` or `upload/ID`. */
export async function run(io: Io, options: Connections, text: string): Promise<number> {
  const config = configure(io, options);
  const { kind, found } = await findEither(io, config, text);
  if (kind === 'job') {
    const job = jobJson(found, await countsOf(io, config, found));
    if (io.json) io.outJson(job);
    else printJob(io, job);
    return EXIT.ok;
  }
  const status = found.view === undefined ? fromRow(found.row) : fromView(found.view, found.row);
  if (io.json) io.outJson(status);
  else printStatus(io, status);
  return EXIT.ok;
}

/** The state is worth telling without figures. */
async function countsOf(io: Io, config: Config, { row }: FoundJob): Promise<JobCounts | undefined> {
  if (row === undefined) return undefined;
  try {
    return await withJobCatalog(config, (catalog) => catalog.counts(row.id));
  } catch (error) {
    io.err(`warning: ${asLongshoreError(error).message}`);
    return undefined;
  }
}
