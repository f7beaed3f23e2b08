/** `longshore sync`: as `upload`, and from then on the folder is looked at for changes. */
import { runJob } from '../job-run.js';
import type { Io } from '../io.js';
import type { JobOptions } from '../job-options.js';

export async function run(io: Io, options: JobOptions, folder: string, destination: string): Promise<number> {
  return await runJob(io, options, { folder, destination, monitored: true });
}
