/** The folder of a job as a worker sees it: a job of its own that only looks, and is forgotten afterwards. */
import { randomBytes } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';
import type { JobResult } from '../../core/jobs.js';
import type { FileRow } from '../../infra/catalog/files.js';
import type { Config } from '../../infra/config.js';
import { bytesOf } from '../../infra/sources/tree-names.js';
import type { JobView } from '../jobs.js';
import type { LongshoreClient } from '../longshore-client.js';
import type { Io } from './io.js';
import { followLooks, type Looks, type WatcherOf } from './follow.js';
import { Interrupts } from './interrupts.js';
import type { JobCatalog } from './job-catalog.js';
import type { Seen } from './job-dry-folder.js';
import type { JobRequest } from './job-start.js';
import { withClient } from './session.js';

export async function* seenByWorker(
  io: Io,
  config: Config,
  catalog: JobCatalog,
  { id, definition }: JobRequest,
): AsyncGenerator<Seen> {
  const { listFiles } = await import('../../infra/catalog/files.js');
  const db = await catalog.pool();
  const look = `${id.slice(0, 180)}.dry-${randomBytes(4).toString('hex')}`;
  try {
    await withClient(config, (client) => walk(io, client, catalog, { id: look, definition, limits: {} }));
    const { no } = await catalog.rowOf(look);
    for (let after: string | undefined; ;) {
      const { rows, next } = await listFiles(db, no, { limit: 1_000, after });
      for (const row of rows) yield seenOf(row);
      if (next === undefined) return;
      after = next;
    }
  } finally {
    await withClient(config, (client) => client.jobs.deleteJob(look, db));
  }
}

async function walk(
  io: Io,
  client: LongshoreClient,
  catalog: JobCatalog,
  request: JobRequest,
): Promise<void> {
  const { id } = request;
  const definition = { ...request.definition, monitor: { enabled: false }, dryRun: true };
  const interrupts = new Interrupts();
  interrupts.arm({});
  const { installation } = catalog;
  const { runId } = await client.jobs.startJob({ id, definition, db: await catalog.pool(), installation });
  let warned = false;
  const looks: Looks<[JobView], JobResult> = {
    look: async () => [await client.jobs.viewJob(id)],
    result: () => client.jobs.result(id, runId),
  };
  const watcher: WatcherOf<[JobView]> = {
    update({ unclaimed }) {
      if (unclaimed === undefined || warned) return;
      warned = true;
      io.err(
        `warning: no worker takes tasks from the queue ${unclaimed}: start one with \`longshore worker\``,
      );
    },
    silent: (why) => io.err(`warning: Temporal does not answer (${why}); still trying`),
    answered: () => io.err('Temporal answers again.'),
  };
  try {
    await followLooks(looks, watcher, interrupts.signal);
  } catch (error) {
    // Who leaves wants no look any more; it is cancelled with the job that made it.
    if (interrupts.signal.aborted)
      throw new LongshoreError('Cancelled', 'stopped', { op: 'dry-run', cause: error });
    throw error;
  } finally {
    interrupts.release();
  }
}

function seenOf({ path, state, size, mtimeNs }: FileRow): Seen {
  const order = bytesOf(path);
  if (state === 'FAILED' || state === 'SKIPPED')
    return { kind: state === 'FAILED' ? 'failed' : 'skipped', path, order };
  return { kind: 'file', path, order, size: size ?? 0, mtimeNs };
}
