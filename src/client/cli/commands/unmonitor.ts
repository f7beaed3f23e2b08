/** `longshore unmonitor`: a folder is looked at no more; job, files and objects stay. */
import { EXIT } from '../../../core/errors.js';
import type { Io } from '../io.js';
import { withJobCatalog } from '../job-catalog.js';
import { readJobId } from '../job-find.js';
import type { Connections } from '../options.js';
import { configure, withClient } from '../session.js';

/** Throws NotFound. */
export async function run(io: Io, options: Connections, text: string): Promise<number> {
  const id = readJobId(text);
  const config = configure(io, options);
  return await withJobCatalog(config, async (catalog) => {
    const { state } = await catalog.rowOf(id);
    await withClient(config, async (client) => client.jobs.setMonitor(id, false, await catalog.pool()));
    if (io.json) io.outJson({ id, state, monitored: false });
    else io.out(`${id} is not monitored any more; \`longshore sync\` with the same folder begins again.`);
    return EXIT.ok;
  });
}
