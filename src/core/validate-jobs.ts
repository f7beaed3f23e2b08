/** What can be said of a job's definition without looking at the world. The client asks first, the worker again. */
import { LongshoreError } from './errors.js';
import { createGlob, MAX_ALTERNATIVES } from './globs.js';
import { ID_PATTERN } from './ids.js';
import { checkKeyTemplate, keysAreUnique } from './job-keys.js';
import type {
  JobDefinition,
  JobDestination,
  JobFilter,
  JobLimits,
  JobMonitoring,
  JobSource,
  UploadJobInput,
} from './jobs.js';
import { MAX_KEY_BYTES } from './limits.js';
import { BUCKET_PATTERN, isWellFormed, utf8Length, validateOptions } from './validate.js';

/** Globs of a job, include and exclude each. */
export const MAX_GLOBS = 100;
/** Characters of one glob. */
export const MAX_GLOB_LENGTH = 1024;
/** Seconds. */
export const MAX_INTERVAL_S = 30 * 24 * 3600;

const MODES = ['first', 'sync', 'retry'];

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'validate' });
}

/** Throws InvalidInput, KeyTooLong. */
export function validateJobInput({ id, mode, definition, limits }: UploadJobInput): void {
  if (!ID_PATTERN.test(id))
    throw invalid(`the id ${JSON.stringify(id)} is not 1 to 200 of A-Z a-z 0-9 . _ : -`);
  if (!MODES.includes(mode)) throw invalid(`${JSON.stringify(mode)} is no mode of a run`);
  if (definition !== undefined) validateJob(definition, id);
  else if (mode === 'first') throw invalid('the first run of a job needs its definition');
  if (limits !== undefined) validateLimits(limits);
}

/** Throws InvalidInput, KeyTooLong. */
export function validateJob(definition: JobDefinition, id: string): void {
  if (!ID_PATTERN.test(id))
    throw invalid(`the id ${JSON.stringify(id)} is not 1 to 200 of A-Z a-z 0-9 . _ : -`);
  validateSource(definition.source);
  validateDestination(definition.destination);
  validateFilter(definition.filter);
  validateOptions(definition.objects);
  if (definition.objects.encryption?.type === 'SSE_C')
    throw invalid('a customer’s key is kept for one upload; a job’s files cannot share it');
  validateMonitor(definition.monitor);
  const { compare, deletions } = definition;
  if (!['mtime', 'checksum'].includes(compare)) throw invalid(`${JSON.stringify(compare)} compares nothing`);
  if (deletions !== undefined) validateDeletions(deletions, definition.destination);
}

function validateDeletions(
  { maxShare }: NonNullable<JobDefinition['deletions']>,
  { keyTemplate }: JobDestination,
): void {
  if (!(maxShare >= 0 && maxShare <= 1)) throw invalid(`a share of ${maxShare} is not between 0 and 1`);
  if (keyTemplate === undefined || keysAreUnique(keyTemplate)) return;
  const message = `the key template ${JSON.stringify(keyTemplate)} can give one key to several files, and a deletion then takes the object of one that is still there`;
  throw new LongshoreError('InvalidInput', message, {
    op: 'validate',
    hint: 'Use {path}, or {dir} and then {name}, in the key template, or do without deletions.',
  });
}

/** Throws InvalidInput. */
export function validateLimits({ bandwidth, concurrency }: Partial<JobLimits>): void {
  if (bandwidth !== undefined && bandwidth !== null && !isWhole(bandwidth, 1)) {
    throw invalid(`a bandwidth of ${bandwidth} bytes a second makes no sense`);
  }
  if (concurrency !== undefined && concurrency !== null && !isWhole(concurrency, 1, 1_000_000)) {
    throw invalid(`a concurrency of ${concurrency} files makes no sense`);
  }
}

function validateSource({ root, path }: JobSource): void {
  if (typeof root !== 'string' || root === '') throw invalid('the folder has no root');
  if (typeof path !== 'string' || !isWellFormed(path) || path.includes('\0')) {
    throw invalid('the path of the folder is not valid Unicode');
  }
  if (path === '') return;
  if (path.split('/').some((name) => ['', '.', '..'].includes(name))) {
    throw invalid(`${JSON.stringify(path)} is no path below a root: it has an empty name, \`.\` or \`..\``);
  }
}

function validateDestination({ bucket, prefix, keyTemplate }: JobDestination): void {
  if (!BUCKET_PATTERN.test(bucket)) throw invalid(`${JSON.stringify(bucket)} is not a bucket's name`);
  if (typeof prefix !== 'string' || !isWellFormed(prefix)) throw invalid('the prefix is not valid Unicode');
  const bytes = utf8Length(prefix);
  if (bytes >= MAX_KEY_BYTES) {
    const message = `the prefix has ${bytes} bytes, and a key at most ${MAX_KEY_BYTES}`;
    throw new LongshoreError('KeyTooLong', message, { op: 'validate' });
  }
  if (keyTemplate !== undefined) checkKeyTemplate(keyTemplate);
}

function validateFilter(filter: JobFilter): void {
  let alternatives = 0;
  for (const globs of [filter.include ?? [], filter.exclude ?? []]) {
    if (globs.length > MAX_GLOBS) throw invalid(`${globs.length} globs; at most ${MAX_GLOBS} are taken`);
    for (const glob of globs) {
      if (glob === '' || glob.length > MAX_GLOB_LENGTH || glob.includes('\0')) {
        throw invalid(`a glob has 1 to ${MAX_GLOB_LENGTH} characters, none of them NUL`);
      }
      alternatives += createGlob(glob).alternatives;
    }
  }
  if (alternatives > MAX_ALTERNATIVES) {
    throw invalid(
      `the globs have ${alternatives} alternatives together; at most ${MAX_ALTERNATIVES} are taken`,
    );
  }
  validateRange('size', filter.minSize, filter.maxSize);
  validateRange('age', filter.minAge, filter.maxAge);
  if (filter.symlinks !== undefined && !['skip', 'follow'].includes(filter.symlinks)) {
    throw invalid(`symlinks are skipped or followed, not ${JSON.stringify(filter.symlinks)}`);
  }
}

function validateRange(what: string, least: number | undefined, most: number | undefined): void {
  for (const bound of [least, most]) {
    if (bound !== undefined && !isWhole(bound, 0)) throw invalid(`a ${what} of ${bound} makes no sense`);
  }
  if (least !== undefined && most !== undefined && least > most) {
    throw invalid(`no file has a ${what} of at least ${least} and at most ${most}`);
  }
}

/** Throws InvalidInput. */
export function validateMonitor({
  interval,
  stability,
}: {
  [Time in 'interval' | 'stability']?: JobMonitoring[Time] | undefined;
}): void {
  if (interval !== undefined) validateInterval(interval);
  if (stability !== undefined && !isWhole(stability, 0, MAX_INTERVAL_S)) {
    throw invalid(`a stability of ${stability} seconds makes no sense`);
  }
}

/** Seconds between two looks at a folder. Throws InvalidInput. */
export function validateInterval(interval: number): void {
  if (!isWhole(interval, 1, MAX_INTERVAL_S)) {
    throw invalid(`an interval of ${interval} seconds is not between 1 and ${MAX_INTERVAL_S}`);
  }
}

function isWhole(value: number, least: number, most = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}
