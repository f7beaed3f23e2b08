/** `longshore jobs`: upload jobs, newest first. */
import { EXIT } from '../../../core/errors.js';
import type { JobCounts } from '../../../core/jobs.js';
import { isTerminal, JOB_STATES, type JobState } from '../../../core/states.js';
import { jobCounts, listJobs, type JobRow } from '../../../infra/catalog/jobs.js';
import type { Io } from '../io.js';
import { jobJson } from '../job-describe.js';
import { destinationOf } from '../job-watching.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure, withCatalog } from '../session.js';
import { bytes, grouped, localTime, table } from '../text.js';

export interface JobsOptions extends Connections {
  state?: string;
  bucket?: string;
  monitored?: boolean;
  limit: string;
  cursor?: string;
}

export async function run(io: Io, options: JobsOptions): Promise<number> {
  const { bucket, cursor, monitored } = options;
  const limit = count('--limit', options.limit);
  const ask = { state: stateOf(options.state), bucket, cursor, monitored, limit };
  const { rows, next, counts } = await withCatalog(configure(io, options), async (pool) => {
    const page = await listJobs(pool, ask);
    // Those that have ended carry theirs.
    const running = page.rows.filter(({ state, counts }) => !isTerminal(state) || counts === null);
    return {
      ...page,
      counts: await jobCounts(
        pool,
        running.map(({ no }) => no),
      ),
    };
  });
  const countsOf = (row: JobRow): JobCounts | undefined => counts.get(row.no) ?? row.counts ?? undefined;
  if (io.json) {
    const jobs = rows.map((row) => jobJson({ view: undefined, row }, countsOf(row)));
    io.outJson({ jobs, nextCursor: next ?? null });
    return EXIT.ok;
  }
  if (rows.length === 0) io.err('No jobs. Next: `longshore upload <folder> s3://bucket/prefix`');
  else
    for (const line of table(
      HEAD,
      rows.map((row) => cells(row, countsOf(row))),
    ))
      io.out(line);
  if (next !== undefined) io.err(`More: add --cursor ${next}`);
  return EXIT.ok;
}

const HEAD = ['ID', 'STATE', 'FILES', 'SIZE', 'FAILED', 'MONITORED', 'CREATED', 'FOLDER', 'DESTINATION'];

function cells(row: JobRow, counts: JobCounts | undefined): string[] {
  const why = row.failure === null ? row.state : `${row.state} ${row.failure.code}`;
  const files =
    counts === undefined
      ? '-'
      : counts.completedFiles === counts.totalFiles
        ? grouped(counts.totalFiles)
        : `${grouped(counts.completedFiles)}/${grouped(counts.totalFiles)}`;
  return [
    ...[row.id, why, files, counts === undefined ? '-' : bytes(counts.totalBytes)],
    ...[counts === undefined ? '-' : grouped(counts.failedFiles), row.monitored ? 'yes' : 'no'],
    ...[localTime(row.createdAt), row.sourceFolder, destinationOf(row)],
  ];
}

function stateOf(text: string | undefined): JobState | undefined {
  const state = JOB_STATES.find((each) => each === text?.toUpperCase());
  if (text === undefined || state !== undefined) return state;
  throw badUsage(`--state takes ${JOB_STATES.join(', ')}, not ${JSON.stringify(text)}`);
}
