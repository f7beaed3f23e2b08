/** `longshore approve`: lets go the deletions that a job asks a person about. */
import type { Io } from '../io.js';
import { readJobId } from '../job-find.js';
import type { Connections } from '../options.js';
import { configure, withClient } from '../session.js';
import { answer, endedAs, settled } from '../steering.js';
import { isTerminal } from '../../../core/states.js';

/** Throws NotFound, NotRunning. */
export async function run(io: Io, options: Connections, text: string): Promise<number> {
  const id = readJobId(text);
  const arrived = (state: string): boolean => state !== 'BLOCKED';
  const view = await withClient(configure(io, options), async (client) => {
    await client.jobs.approve(id);
    return await settled({ look: async () => [await client.jobs.viewJob(id)] }, arrived);
  });
  return answer(io, {
    ...{ op: 'approve', id, name: id, view, arrived },
    said: (name, state) =>
      isTerminal(state) ? endedAs(name, state) : `${name} goes on. Next: \`longshore watch ${name}\``,
  });
}
