/** What scan and check judge alike. */
import { LongshoreError } from '../core/errors.js';
import { keyOf } from '../core/job-keys.js';
import type { JobDefinition } from '../core/jobs.js';
import type { Pool } from '../infra/catalog/pool.js';
import type { Roots } from '../infra/sources/file-open.js';
import { createFilter } from '../infra/sources/filter.js';
import { openTree } from '../infra/sources/tree-root.js';
import type { Tree, TreeEntry } from '../infra/sources/tree.js';
import { mtimeText, sameFile, type Manifest, type ManifestRow } from './manifest.js';

export interface ScanDeps {
  db: Pool;
  /** Folders by name. */
  roots: Roots;
}

/** Why there is nothing to send. */
export interface Refusal {
  state: 'FAILED' | 'SKIPPED';
  code: string;
  reason: string;
}

/**
 * The folder of a job, from `after` on. A folder that was there once and is not, or cannot be read any more, is no empty
 * folder: RootUnavailable, for a person to look at. Throws what `openTree` throws.
 */
export async function openJobTree(
  roots: Roots,
  { source, filter }: JobDefinition,
  at: { after: string | null; now: number },
  manifest: Manifest,
): Promise<Tree> {
  try {
    return await openTree(roots, source, {
      after: at.after,
      filter: createFilter(filter, at.now),
      follow: filter.symlinks === 'follow',
      emptyFolders: filter.emptyFolders ?? false,
    });
  } catch (error) {
    if (!(error instanceof LongshoreError) || !LOST.has(error.code)) throw error;
    await manifest.fill();
    if (at.after === null && manifest.first === undefined) throw error;
    const { message, key } = error;
    const hint = 'Bring the folder back, then `longshore resume`; if it is gone for good, cancel the job.';
    throw new LongshoreError('RootUnavailable', message, { op: 'scan', key, cause: error, hint });
  }
}

const LOST: ReadonlySet<string> = new Set(['SourceNotFound', 'SourceDenied', 'SourceInvalid']);

export function refusalOf({ kind, code, reason = '' }: TreeEntry): Refusal {
  return kind === 'skipped'
    ? { state: 'SKIPPED', code: code ?? 'Skipped', reason }
    : { state: 'FAILED', code: code ?? 'SourceInvalid', reason };
}

export function refusalOfKey({ destination }: JobDefinition, entry: TreeEntry): Refusal | undefined {
  try {
    keyOf(destination, entry.path, mtimeText(entry.mtimeNs) ?? undefined);
    return undefined;
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    return { state: 'FAILED', code: error.code, reason: error.message };
  }
}

/** The row says so already, and need not be written again. */
export function alreadyRefused(row: ManifestRow, entry: TreeEntry, { state }: Refusal): boolean {
  return !row.gone && row.state === state && sameFile(row, entry);
}
