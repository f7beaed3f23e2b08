/** `longshore upload`: a folder into a bucket, followed to its end. */
import { runJob } from '../job-run.js';
import type { Io } from '../io.js';
import type { JobOptions } from '../job-options.js';

export async function run(io: Io, options: JobOptions, folder: string, destination: string): Promise<number> {
  return await runJob(io, options, { folder, destination, monitored: options.monitor === true });
}
