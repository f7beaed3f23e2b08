/** Walks a folder beside what the catalog knows of it: both in the order of their paths, neither ever held whole. */
import { setImmediate as breathe } from 'node:timers/promises';
import { bytesOf } from '../infra/sources/tree-names.js';
import type { Tree, TreeEntry } from '../infra/sources/tree.js';
import { ClosedFolders, type Manifest, type ManifestRow } from './manifest.js';

export interface Comparison {
  /** Something in the folder, and the row of its path if there is one. */
  met(entry: TreeEntry, row: ManifestRow | undefined): void | Promise<void>;
  /** A row of which nothing is in the folder. */
  missed(row: ManifestRow): void;
  /** A row below a folder that could not be read. */
  hidden(row: ManifestRow): void;
  /** Everything up to this path was told; false ends the walk. Nothing happens meanwhile, so it may take its time. */
  told(path: string): boolean | Promise<boolean>;
}

/** The walk is synchronous: heartbeats and whatever else this process does get their turn this often. */
const BREATH_MS = 10;

/** True when it came to the end. `after` is where tree and manifest begin. Throws once `signal` is aborted. */
export async function compareFolder(
  { tree, manifest, after }: { tree: Tree; manifest: Manifest; after: string | null },
  comparison: Comparison,
  signal: AbortSignal,
): Promise<boolean> {
  const beginning = after === null ? '' : bytesOf(after);
  const closed = new ClosedFolders();
  const pause = createPause(signal);
  const passRow = async (row: ManifestRow): Promise<boolean> => {
    if (closed.holds(manifest.order)) comparison.hidden(row);
    else comparison.missed(row);
    manifest.advance();
    if (manifest.dry) await manifest.fill();
    if (pause.due()) await pause.take();
    return comparison.told(row.path);
  };
  await manifest.fill();
  for (const entry of tree.walk()) {
    if (entry === undefined) {
      if (pause.due()) await pause.take();
      continue;
    }
    if (entry.kind === 'closed' || entry.hides === true) closed.add(entry.order);
    if (entry.order <= beginning) continue;
    for (let row = manifest.first; row !== undefined && manifest.order < entry.order; row = manifest.first) {
      if (!(await passRow(row))) return false;
    }
    const row = manifest.order === entry.order ? manifest.first : undefined;
    const work = comparison.met(entry, row);
    if (work !== undefined) await work;
    if (row !== undefined) manifest.advance();
    if (manifest.dry) await manifest.fill();
    if (pause.due()) await pause.take();
    const on = comparison.told(entry.path);
    if (on !== true && !(await on)) return false;
  }
  for (let row = manifest.first; row !== undefined; row = manifest.first) {
    if (!(await passRow(row))) return false;
  }
  return true;
}

function createPause(signal: AbortSignal): { due(): boolean; take(): Promise<void> } {
  let last = performance.now();
  return {
    due: () => performance.now() - last >= BREATH_MS,
    async take() {
      await breathe();
      signal.throwIfAborted();
      last = performance.now();
    },
  };
}
