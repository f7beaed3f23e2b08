/** How people write a folder and where it goes, as the definition of a job. */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { LongshoreError } from '../core/errors.js';
import type { JobDefinition, JobDestination, JobSource } from '../core/jobs.js';
import { splitS3 } from './source-spec.js';

export { jobFingerprint } from '../infra/temporal/job-runs.js';

export interface JobSpec extends Partial<Omit<JobDefinition, 'source' | 'sourceFolder' | 'destination'>> {
  /** Absolute, or relative to where one is. */
  folder: string;
  /** `s3://bucket/prefix`, which is taken as a folder; or a destination whose prefix is taken as it is. */
  destination: string | JobDestination;
  /** Instead of the destination's own. */
  keyTemplate?: string;
}

export interface JobSpecContext {
  /** Folders by name. */
  roots: Readonly<Record<string, string>>;
  /** Absolute; relative folders begin here. */
  cwd: string;
}

/**
 * By default everything is sent, unchanged files are told by size and time, and the folder is not monitored. Throws
 * InvalidInput, and SourceOutsideRoot when no root holds the folder.
 */
export function defineJob(spec: JobSpec, context: JobSpecContext): JobDefinition {
  const { folder, destination, keyTemplate, filter, objects, monitor, compare, verify, ...rest } = spec;
  const to = typeof destination === 'string' ? parseFolderDestination(destination) : destination;
  return {
    source: sourceOf(folder, context),
    sourceFolder: resolve(context.cwd, folder),
    destination: { ...to, ...(keyTemplate === undefined ? {} : { keyTemplate }) },
    filter: filter ?? {},
    objects: objects ?? {},
    monitor: monitor ?? { enabled: false },
    compare: compare ?? 'mtime',
    verify: verify ?? false,
    ...rest,
  };
}

/** `s3://bucket`, `s3://bucket/prefix` and `s3://bucket/prefix/`: a prefix is a folder. */
function parseFolderDestination(text: string): JobDestination {
  const { bucket, key } = splitS3(text, 'parseDestination');
  return { bucket, prefix: key === '' || key.endsWith('/') ? key : `${key}/` };
}

/** The deepest root that holds the folder, by real paths: links in either make no difference. */
function sourceOf(folder: string, { roots, cwd }: JobSpecContext): JobSource {
  if (folder === '' || folder.includes('\0'))
    throw invalid(folder === '' ? 'no folder is named' : 'the folder holds a NUL');
  if (/\p{Surrogate}/u.test(folder)) throw invalid('the folder holds half a character (a lone surrogate)');
  const path = withSlash(real(resolve(cwd, folder)));
  const holding = Object.entries(roots)
    .map(([root, at]) => ({ root, prefix: withSlash(real(resolve(cwd, at))) }))
    .filter(({ prefix }) => path.startsWith(prefix))
    .sort((a, b) => b.prefix.length - a.prefix.length)[0];
  if (holding !== undefined) return { root: holding.root, path: path.slice(holding.prefix.length, -1) };
  const known = Object.entries(roots).map(([name, at]) => `${name} (${at})`);
  const said = known.length === 0 ? 'none is configured' : `there are ${known.join(', ')}`;
  const message = `${path.slice(0, -1)} is under no root that workers may read: ${said}`;
  throw new LongshoreError('SourceOutsideRoot', message, {
    op: 'defineJob',
    key: folder,
    hint: 'Name a folder above it in LONGSHORE_ROOTS (name=/path), here and for the workers; under `longshore dev` every path will do.',
  });
}

/** A folder that is on the workers' hosts alone is taken as it is spelled. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return path;
    throw invalid(`${path} cannot be looked up: ${String(error)}`);
  }
}

function withSlash(folder: string): string {
  return folder.endsWith('/') ? folder : `${folder}/`;
}

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'defineJob' });
}
