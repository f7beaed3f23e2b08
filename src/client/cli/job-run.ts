/** `upload` and `sync`, from their options to their end. */
import { LongshoreError } from '../../core/errors.js';
import type { JobDefinition } from '../../core/jobs.js';
import { validateJob } from '../../core/validate-jobs.js';
import type { Config } from '../../infra/config.js';
import { defineJob } from '../job-spec.js';
import { Interrupts } from './interrupts.js';
import type { Io } from './io.js';
import { withJobCatalog } from './job-catalog.js';
import { dryRun } from './job-dry-run.js';
import { askedOf, limitsOf, madeJobId, type JobOptions } from './job-options.js';
import { announceAndFollow, beforeStart, begin } from './job-start.js';
import { destinationOf } from './job-watching.js';
import { badUsage } from './options.js';
import { configure, withClient } from './session.js';

export interface JobCommand {
  folder: string;
  destination: string;
  monitored: boolean;
}

export async function runJob(io: Io, options: JobOptions, command: JobCommand): Promise<number> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const config = configure(io, options);
  const definition = definitionOf(io, config, options, command);
  const request = { id: options.id ?? madeJobId(definition), definition, limits: limitsOf(options) };
  validateJob(definition, request.id);
  if (options.dryRun === true) return await dryRun(io, config, request, options);
  const interrupts = new Interrupts();
  try {
    return await withJobCatalog(config, (catalog) =>
      withClient(config, async (client) => {
        if (interrupts.signal.aborted) return beforeStart(io);
        const begun = await begin(client, catalog, request);
        const ends = { from: definition.sourceFolder, to: destinationOf(request) };
        return await announceAndFollow(begun, options, { io, client, catalog, interrupts, seconds, ...ends });
      }),
    );
  } finally {
    interrupts.release();
  }
}

/** Everything that can be refused without a connection is refused here. */
function definitionOf(
  io: Io,
  { roots }: Config,
  options: JobOptions,
  { folder, destination, monitored }: JobCommand,
): JobDefinition {
  if (!monitored && (options.interval ?? options.stability) !== undefined) {
    throw badUsage('--interval and --stability make no sense without --monitor');
  }
  const { keyTemplate, deletions, ...asked } = askedOf(options, monitored);
  const spec = {
    ...{ folder, destination, ...asked },
    ...(keyTemplate === undefined ? {} : { keyTemplate }),
    ...(deletions === undefined ? {} : { deletions }),
  };
  try {
    return defineJob(spec, { roots, cwd: io.cwd });
  } catch (error) {
    if (!(error instanceof LongshoreError) || error.code !== 'SourceOutsideRoot') throw error;
    // Nobody tried to leave a root: the command line names a folder that has none.
    const { message, op, key, hint } = error;
    throw new LongshoreError('InvalidInput', message, { op, key, hint, cause: error });
  }
}
