/** `checkFolder`: whether a monitored folder has anything to send. It only looks, and stops at the first change. */
import type { CheckAnswer, CheckInput } from '../core/job-steps.js';
import { getJob, noteCheck } from '../infra/catalog/jobs.js';
import type { TreeEntry } from '../infra/sources/tree.js';
import { attempting } from './attempt.js';
import { compareFolder } from './compare.js';
import { isQuiet, Manifest, sameFile, type ManifestRow } from './manifest.js';
import { alreadyRefused, openJobTree, refusalOf, type ScanDeps } from './scan-rules.js';

export interface CheckDeps extends ScanDeps {
  /** Seconds a change has to be left alone where the job does not say. */
  stability: number;
}

/**
 * Goes by size and time alone, also where a job compares checksums: a look each minute must not read every file. What
 * failed as it is now is no change. Throws RootUnavailable and what else a scan throws.
 */
export function createCheckFolder({
  db,
  roots,
  stability,
}: CheckDeps): (input: CheckInput) => Promise<CheckAnswer> {
  return (input) =>
    attempting(async ({ stopSignal }) => {
      const row = await getJob(db, input.id);
      if (row === undefined || row.no !== input.job || !row.monitored) return { changed: false, over: true };
      const now = Date.now();
      const manifest = new Manifest(db, row.no, null);
      const tree = await openJobTree(roots, row.definition, { after: null, now }, manifest);
      const look = createLook(row.definition.monitor.stability ?? stability, now);
      try {
        const same = await compareFolder({ tree, manifest, after: null }, look, stopSignal);
        await noteCheck(db, row.no);
        return { changed: !same, over: false };
      } finally {
        tree.close();
      }
    });
}

function createLook(quiet: number, now: number) {
  let changed = false;
  return {
    met(entry: TreeEntry, row: ManifestRow | undefined): void {
      if (entry.kind === 'unfit') return;
      changed =
        entry.kind === 'file' || entry.kind === 'empty'
          ? !isAsKnown(entry, row) && isQuiet(entry, quiet, now)
          : row === undefined || !alreadyRefused(row, entry, refusalOf(entry));
    },
    missed(row: ManifestRow): void {
      changed = !row.gone;
    },
    hidden: (): void => undefined,
    told: (): boolean => !changed,
  };
}

/** Sent, or failed, as it is now. */
function isAsKnown(entry: TreeEntry, row: ManifestRow | undefined): boolean {
  return row !== undefined && !row.gone && row.state !== 'PENDING' && sameFile(row, entry);
}
