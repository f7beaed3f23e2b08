/** Which files of a folder belong to a job. See core/globs for what patterns mean. */
import { createGlob } from '../../core/globs.js';
import type { JobFilter } from '../../core/jobs.js';

/** What a name alone tells. */
export interface PathFilter {
  /** Asked only for what lies in folders that were entered. */
  takes(path: string): boolean;
  /** Whether anything under a folder may belong to the job. `folder` has no `/` at its end. */
  enters(folder: string): boolean;
}

export interface FileFilter extends PathFilter {
  /** `size` in bytes, `mtimeNs` in nanoseconds since 1970. */
  fits(size: number, mtimeNs: bigint): boolean;
}

const NS_PER_SECOND = 1_000_000_000;

/**
 * A pattern that excludes a folder excludes what it holds. `now` in milliseconds: ages count from there. Throws
 * InvalidInput for a pattern that is none.
 */
export function createFilter(filter: JobFilter, now: number): FileFilter {
  const include = (filter.include ?? []).map(createGlob);
  const exclude = (filter.exclude ?? []).map(createGlob);
  const { hidden = true, minSize = 0, maxSize = Infinity } = filter;
  const before = (seconds: number): bigint =>
    BigInt(now) * 1_000_000n - BigInt(Math.round(seconds * NS_PER_SECOND));
  const youngest = filter.minAge === undefined ? undefined : before(filter.minAge);
  const oldest = filter.maxAge === undefined ? undefined : before(filter.maxAge);
  const wanted = (path: string): boolean =>
    (hidden || !isHidden(path)) && !exclude.some((glob) => glob.matches(path));
  return {
    takes: (path) => wanted(path) && (include.length === 0 || include.some((glob) => glob.matches(path))),
    enters: (folder) =>
      wanted(folder) && (include.length === 0 || include.some((glob) => glob.reaches(folder))),
    fits: (size, mtimeNs) =>
      size >= minSize &&
      size <= maxSize &&
      (youngest === undefined || mtimeNs <= youngest) &&
      (oldest === undefined || mtimeNs >= oldest),
  };
}

function isHidden(path: string): boolean {
  return path.startsWith('.') || path.includes('/.');
}
