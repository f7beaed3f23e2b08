/** The folder of a job as this machine sees it. */
import { differsInContent } from '../../activities/content.js';
import { LongshoreError } from '../../core/errors.js';
import type { JobDefinition } from '../../core/jobs.js';
import { createFilter } from '../../infra/sources/filter.js';
import type { Roots } from '../../infra/sources/file-open.js';
import { openTree } from '../../infra/sources/tree-root.js';
import type { Tree, TreeEntry } from '../../infra/sources/tree.js';

export interface SeenFile {
  kind: 'file';
  path: string;
  /** What the path sorts by. */
  order: string;
  size: number;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string | null;
  /** From what was sent with `checksum`; to be asked before the next one is taken. Left out where nobody can read it here. */
  differs?: (checksum: string | null) => Promise<boolean>;
}

/** `closed`: what is below is not known. */
export type Seen =
  SeenFile | { kind: 'skipped' | 'failed' | 'unfit' | 'closed'; path: string; order: string };

/** undefined when this machine has no such root, or may not read the folder. */
export async function openFolderHere(
  roots: Roots,
  { source, filter }: JobDefinition,
): Promise<AsyncIterable<Seen> | undefined> {
  try {
    const tree = await openTree(roots, source, {
      after: null,
      filter: createFilter(filter, Date.now()),
      follow: filter.symlinks === 'follow',
      emptyFolders: filter.emptyFolders === true,
    });
    return entriesOf(tree);
  } catch (error) {
    if (error instanceof LongshoreError && ELSEWHERE.has(error.code)) return undefined;
    throw error;
  }
}

/** What a worker may know better. */
const ELSEWHERE: ReadonlySet<string> = new Set(['RootUnavailable', 'SourceNotFound', 'SourceDenied']);

async function* entriesOf(tree: Tree): AsyncGenerator<Seen> {
  for (const entry of tree) {
    const seen = seenOf(tree, entry);
    if (seen !== undefined) yield seen;
  }
}

/** Ctrl-C ends a dry run as it ends any command that has started nothing. */
const NEVER = new AbortController().signal;

function seenOf(tree: Tree, entry: TreeEntry): Seen | undefined {
  const { kind, path, order, size, mtimeNs } = entry;
  switch (kind) {
    case 'file':
      return {
        ...{ kind, path, order, size: size ?? 0, mtimeNs: mtimeNs === null ? null : String(mtimeNs) },
        differs: (checksum) => differsInContent(tree, entry, checksum, NEVER),
      };
    case 'empty':
      return { kind: 'file', path, order, size: 0, mtimeNs: mtimeNs === null ? null : String(mtimeNs) };
    case 'closed':
    case 'unfit':
    case 'skipped':
    case 'failed':
      return { kind, path, order };
  }
}
