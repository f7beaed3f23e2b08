/** `longshore retry`: sends again what failed, without looking at the folder. */
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import { readJobId } from '../job-find.js';
import { withJobCatalog } from '../job-catalog.js';
import { again, announceAndFollow, beforeStart, type FollowOptions } from '../job-start.js';
import { destinationOf } from '../job-watching.js';
import type { Connections } from '../options.js';
import { configure, withClient } from '../session.js';

export async function run(io: Io, options: Connections & FollowOptions, text: string): Promise<number> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const id = readJobId(text);
  const config = configure(io, options);
  const interrupts = new Interrupts();
  try {
    return await withJobCatalog(config, async (catalog) => {
      const row = await catalog.rowOf(id);
      return await withClient(config, async (client) => {
        if (interrupts.signal.aborted) return beforeStart(io);
        const begun = await again(client, catalog, id, 'retry');
        const ends = { from: row.sourceFolder, to: destinationOf(row) };
        return await announceAndFollow(begun, options, { io, client, catalog, interrupts, seconds, ...ends });
      });
    });
  } finally {
    interrupts.release();
  }
}
