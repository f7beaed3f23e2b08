/** An id on the command line may be an upload's or a job's: which one is meant, and what is known of it. */
import { LongshoreError } from '../../core/errors.js';
import type { JobRow } from '../../infra/catalog/jobs.js';
import type { Config } from '../../infra/config.js';
import type { JobView } from '../jobs.js';
import { asLongshoreError } from './failure.js';
import { bothWords, checkId, findUpload, type Found } from './find.js';
import type { Io } from './io.js';
import { withJobCatalog } from './job-catalog.js';
import { withClient } from './session.js';

export type FoundJob = { view: JobView; row: JobRow | undefined } | { view: undefined; row: JobRow };
export type FoundEither = { kind: 'upload'; found: Found } | { kind: 'job'; found: FoundJob };

export interface Named {
  /** undefined: not said. */
  kind: 'upload' | 'job' | undefined;
  id: string;
}

/** `job/ID` and `upload/ID`, as the workflows are called, say which; a plain id does not. Throws InvalidInput. */
export function readId(text: string): Named {
  const [, kind, rest] = /^(upload|job)\/([^]*)$/.exec(text) ?? [];
  const id = rest ?? text;
  checkId(id);
  return { kind: kind as Named['kind'], id };
}

/** Throws InvalidInput when there are both, NotFound when there is neither, TemporalUnavailable. */
export async function findEither(io: Io, config: Config, text: string): Promise<FoundEither> {
  const { kind, id } = readId(text);
  const said = new Set<string>();
  // Both may have the same to say of the catalog.
  const once = { err: (line: string) => void (said.has(line) || (said.add(line), io.err(line))) };
  if (kind === 'upload') return { kind, found: await findUpload(once, config, id) };
  if (kind === 'job') return { kind, found: await findJob(once, config, id) };
  const [upload, job] = await Promise.allSettled([findUpload(once, config, id), findJob(once, config, id)]);
  return oneOf<Found, FoundJob>(id, upload, job);
}

export async function findJob(io: Pick<Io, 'err'>, config: Config, id: string): Promise<FoundJob> {
  return await bothWords(io, id, {
    view: withClient(config, (client) => client.jobs.viewJob(id)),
    row:
      config.postgresUrl === undefined
        ? Promise.resolve(undefined)
        : withJobCatalog(config, (catalog) => catalog.row(id)),
  });
}

/** The one that was found. Throws InvalidInput when both were; else what the upload's search failed with. */
export function oneOf<Upload, Job>(
  id: string,
  upload: PromiseSettledResult<Upload>,
  job: PromiseSettledResult<Job>,
): { kind: 'upload'; found: Upload } | { kind: 'job'; found: Job } {
  if (upload.status === 'fulfilled' && job.status === 'fulfilled') throw ambiguous(id);
  if (upload.status === 'fulfilled') return { kind: 'upload', found: upload.value };
  if (job.status === 'fulfilled') return { kind: 'job', found: job.value };
  const [ofUpload, ofJob] = [asLongshoreError(upload.reason), asLongshoreError(job.reason)];
  // Whatever is worse than not being known is the reason; the id may well be known.
  if (ofUpload.code !== 'NotFound') throw ofUpload;
  if (ofJob.code !== 'NotFound') throw ofJob;
  const message = ofUpload.message.replace(/\bno upload\b/, 'neither an upload nor a job');
  throw new LongshoreError('NotFound', message, {
    ...{ op: 'status', key: id, cause: ofUpload },
    hint: 'Check the id with `longshore list` and `longshore jobs`.',
  });
}

function ambiguous(id: string): LongshoreError {
  return new LongshoreError('InvalidInput', `${id} is the id of an upload and of a job`, {
    ...{ op: 'status', key: id, hint: `Say which: \`upload/${id}\` or \`job/${id}\`.` },
  });
}

/** An id of a job, with or without `job/` before it. Throws InvalidInput. */
export function readJobId(text: string): string {
  const { kind, id } = readId(text);
  if (kind !== 'upload') return id;
  throw new LongshoreError('InvalidInput', `${text} is an upload, and this is for jobs`, { op: 'usage' });
}
