/**
 * A folder's tree in the byte order of its paths, one entry at a time: of each folder on the way down its names are held,
 * never more. A folder sorts as its name with `/` at the end, so `a-b` comes before what is in `a`, and `a0` after it.
 */
import type { BigIntStats } from 'node:fs';
import type { ErrorCode } from '../../core/errors.js';
import type { FileFilter } from './filter.js';
import {
  closeFolder,
  identityOf,
  isDenied,
  isGone,
  look,
  namesOf,
  openAlong,
  openBelow,
  openFile,
  openFolder,
  unreadable,
  type Folder,
} from './tree-folder.js';
import { followLink, type Followed } from './tree-links.js';
import { bytesOf, rawOf, shownOf, sortNames, textOf, type ListedName } from './tree-names.js';

export interface TreeOptions {
  /** Real path of the root. */
  root: string;
  /** The folder to walk, below the root; no part of it is a link. '' is the root. */
  path: string;
  /** Entries after this path; null: from the beginning. */
  after: string | null;
  filter: FileFilter;
  /** Go where links lead, under the root. */
  follow: boolean;
  emptyFolders: boolean;
}

/**
 * - `file`: to be sent.   - `empty`: an empty folder; its path ends in `/`.
 * - `unfit`: of a size or age that the filter leaves out; it is there none the less.
 * - `skipped`, `failed`: cannot be sent, for a reason.
 * - `closed`: a folder that cannot be read; what it holds is not known. Its path ends in `/`, unless it is not even known
 *   whether it is a folder. After `after` was set it may come before that,
 *   and so may what `hides`.
 */
export type TreeKind = 'file' | 'empty' | 'unfit' | 'skipped' | 'failed' | 'closed';

export interface TreeEntry {
  kind: TreeKind;
  /** Below the folder; bytes that are no UTF-8 as `\xHH`. */
  path: string;
  /** What the path sorts by: the bytes of its UTF-8, one in each character. */
  order: string;
  /** null where there is nothing to be measured. */
  size: number | null;
  /** Nanoseconds since 1970. */
  mtimeNs: bigint | null;
  /** When anything about it changed last, its name or rights included. */
  ctimeNs: bigint | null;
  code?: ErrorCode;
  reason?: string;
  /** What the paths below this one hold is not known, as with `closed`. */
  hides?: true;
}

interface Frame {
  folder: Folder;
  /** Shown bytes; '' or ending in `/`. */
  prefix: string;
  /** A part of the prefix is no UTF-8. */
  broken: boolean;
  names: (string | ListedName)[];
  at: number;
  /** Folders whose turn comes after other names; the last one first. */
  pending: Pending[];
  /** Below the prefix. */
  after: string | undefined;
  identity: string;
}

interface Pending {
  name: string | ListedName;
  /** Where a link leads, below the root. */
  target?: string;
}

/** Names that are nothing, or folders, between two breaths. */
const IDLE_STEPS = 16;

/** One walk. Iterate over it once; it closes what it opened when the iteration ends. */
export class Tree implements Iterable<TreeEntry> {
  private readonly stack: Frame[] = [];
  private readonly rootFolder: Folder;
  private readonly root: string;
  private current: { folder: Folder; name: string; target?: string } | undefined;

  /** Throws the system's own error when the folder cannot be opened and read. */
  constructor(private readonly options: TreeOptions) {
    this.root = bytesOf(options.root);
    this.rootFolder = openFolder(this.root);
    try {
      const after = options.after === null ? undefined : bytesOf(options.after);
      this.push(openAlong(this.rootFolder, bytesOf(options.path)), '', after, false);
    } catch (error) {
      closeFolder(this.rootFolder);
      throw error;
    }
  }

  *[Symbol.iterator](): Generator<TreeEntry, void> {
    for (const entry of this.walk()) if (entry !== undefined) yield entry;
  }

  /** As the iteration, and undefined now and then where there is nothing to give for long: a place to breathe. */
  *walk(): Generator<TreeEntry | undefined, void> {
    let idle = 0;
    try {
      for (let frame = this.stack.at(-1); frame !== undefined; frame = this.stack.at(-1)) {
        const entry = this.step(frame);
        if (entry !== undefined) yield entry;
        else if (++idle % IDLE_STEPS === 0) yield undefined;
      }
    } finally {
      this.close();
    }
  }

  /** A descriptor of the file that the iteration has just given. Throws the system's own error. */
  open(): number {
    if (this.current === undefined) throw new Error('the walk is at no file');
    const { folder, name, target } = this.current;
    if (target === undefined) return openFile(folder, name);
    const cut = target.lastIndexOf('/');
    const holder = openAlong(this.rootFolder, target.slice(0, Math.max(cut, 0)));
    try {
      return openFile(holder, target.slice(cut + 1));
    } finally {
      closeFolder(holder);
    }
  }

  close(): void {
    for (const { folder } of this.stack.splice(0)) closeFolder(folder);
    if (this.rootFolder.fd >= 0) closeFolder(this.rootFolder);
    this.rootFolder.fd = -1;
  }

  private step(frame: Frame): TreeEntry | undefined {
    const name = frame.names[frame.at];
    const folder = frame.pending.at(-1);
    if (folder !== undefined && (name === undefined || `${shownOf(folder.name)}/` < shownOf(name))) {
      frame.pending.pop();
      return this.enter(frame, folder);
    }
    if (name === undefined) {
      this.stack.pop();
      closeFolder(frame.folder);
      return undefined;
    }
    frame.at++;
    return this.visit(frame, name);
  }

  // ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────

  private visit(frame: Frame, name: string | ListedName): TreeEntry | undefined {
    const shown = shownOf(name);
    const past = frame.after !== undefined && shown <= frame.after;
    // Of what comes before the cursor only a folder of the same beginning can hold anything after it.
    if (past && !reaches(shown, frame.after ?? '')) return undefined;
    const order = frame.prefix + shown;
    const path = textOf(order);
    const raw = rawOf(name);
    let stats: BigIntStats | undefined;
    try {
      stats = look(frame.folder, raw);
    } catch (error) {
      if (isGone(error)) return undefined;
      if (!isDenied(error)) throw unreadable(error, path);
      return { ...BARE, kind: 'closed', path, order, ...DENIED };
    }
    if (stats === undefined) return undefined;
    if (stats.isDirectory()) return this.meetFolder(frame, { name }, path, order, stats);
    if (past)
      return this.options.follow && stats.isSymbolicLink()
        ? this.meetLinkedFolder(frame, name, order, stats)
        : undefined;
    if (!this.options.filter.takes(path)) return undefined;
    this.current = { folder: frame.folder, name: raw };
    if (stats.isFile()) return this.file(frame, name, path, order, stats);
    if (stats.isSymbolicLink() && this.options.follow) return this.meetLink(frame, name, path, order, stats);
    return { ...measured(stats), kind: 'skipped', path, order, reason: WHAT(stats) };
  }

  private file(
    frame: Frame,
    name: string | ListedName,
    path: string,
    order: string,
    stats: BigIntStats,
  ): TreeEntry {
    const size = Number(stats.size);
    const entry: TreeEntry = {
      kind: 'file',
      path,
      order,
      size,
      mtimeNs: stats.mtimeNs,
      ctimeNs: stats.ctimeNs,
    };
    if (!this.options.filter.fits(size, stats.mtimeNs)) entry.kind = 'unfit';
    else if (frame.broken || typeof name !== 'string') Object.assign(entry, BROKEN);
    return entry;
  }

  private meetFolder(
    frame: Frame,
    pending: Pending,
    path: string,
    order: string,
    stats: BigIntStats,
  ): TreeEntry | undefined {
    if (!this.options.filter.enters(path)) return undefined;
    if (this.options.follow && this.holds(stats)) {
      const reason = 'it leads to a folder that holds it';
      return { ...measured(stats), kind: 'skipped', path, order, reason };
    }
    frame.pending.push(pending);
    return undefined;
  }

  /** A folder that is one of those on the way to it. */
  private holds({ dev, ino }: BigIntStats): boolean {
    const identity = `${dev}:${ino}`;
    return this.stack.some((frame) => frame.identity === identity);
  }

  // ── Links ────────────────────────────────────────────────────────────────────────────────────────────────────

  private meetLink(
    frame: Frame,
    name: string | ListedName,
    path: string,
    order: string,
    link: BigIntStats,
  ): TreeEntry | undefined {
    const followed = this.follow(frame, name, path);
    if ('reason' in followed) return { ...measured(link), path, order, ...followed };
    const { target, stats } = followed;
    if (stats.isDirectory()) return this.meetFolder(frame, { name, target }, path, order, stats);
    this.current = { folder: frame.folder, name: rawOf(name), target };
    if (stats.isFile()) return this.file(frame, name, path, order, stats);
    return { ...measured(stats), kind: 'skipped', path, order, reason: `a link to ${WHAT(stats)}` };
  }

  /** The walk goes on within what the link leads to. */
  private meetLinkedFolder(
    frame: Frame,
    name: string | ListedName,
    order: string,
    link: BigIntStats,
  ): TreeEntry | undefined {
    if (!link.isSymbolicLink()) return undefined;
    const path = textOf(order);
    const followed = this.follow(frame, name, path);
    if ('reason' in followed)
      return followed.hides ? { ...measured(link), path, order, ...followed } : undefined;
    if (!followed.stats.isDirectory()) return undefined;
    return this.meetFolder(frame, { name, target: followed.target }, path, order, followed.stats);
  }

  private follow(frame: Frame, name: string | ListedName, path: string): Followed {
    return followLink({ path: this.root, folder: this.rootFolder }, frame.folder, rawOf(name), path);
  }

  // ── Folders ──────────────────────────────────────────────────────────────────────────────────────────────────

  private enter(frame: Frame, { name, target }: Pending): TreeEntry | undefined {
    const shown = shownOf(name);
    const order = `${frame.prefix}${shown}/`;
    const path = textOf(order);
    const after = frame.after?.startsWith(`${shown}/`) ? frame.after.slice(shown.length + 1) : undefined;
    const broken = frame.broken || typeof name !== 'string';
    try {
      const folder =
        target === undefined ? openBelow(frame.folder, rawOf(name)) : openAlong(this.rootFolder, target);
      return this.push(folder, order, after, broken);
    } catch (error) {
      if (isGone(error)) return undefined;
      if (!isDenied(error)) throw unreadable(error, path);
      return { ...BARE, kind: 'closed', path, order, ...DENIED };
    }
  }

  private push(
    folder: Folder,
    prefix: string,
    after: string | undefined,
    broken: boolean,
  ): TreeEntry | undefined {
    try {
      const names = sortNames(namesOf(folder));
      if (names.length === 0 && prefix !== '') return this.leave(folder, prefix, after, broken);
      // Only links can lead in a circle.
      const identity = this.options.follow ? identityOf(folder) : '';
      this.stack.push({ folder, prefix, broken, names, at: 0, pending: [], after, identity });
      return undefined;
    } catch (error) {
      closeFolder(folder);
      throw error;
    }
  }

  private leave(
    folder: Folder,
    order: string,
    after: string | undefined,
    broken: boolean,
  ): TreeEntry | undefined {
    const stats = look(folder, '.');
    closeFolder(folder);
    const { emptyFolders, filter } = this.options;
    const path = textOf(order);
    if (!emptyFolders || after !== undefined || stats === undefined) return undefined;
    if (!filter.takes(path.slice(0, -1))) return undefined;
    const entry: TreeEntry = { ...measured(stats), kind: 'empty', path, order, size: 0 };
    return broken ? Object.assign(entry, BROKEN) : entry;
  }
}

/** Whether a folder may hold what comes after the cursor, though its own name does not. */
function reaches(name: string, after: string): boolean {
  return after.startsWith(name) && (after.length === name.length || after.charAt(name.length) <= '/');
}

const BARE = { size: null, mtimeNs: null, ctimeNs: null } as const;
const DENIED = { code: 'SourceDenied', reason: 'the worker may not read it' } as const;
const BROKEN = {
  kind: 'failed',
  code: 'SourceInvalid',
  reason: 'its name is not valid UTF-8, so no key can hold it',
} as const;

function measured(stats: BigIntStats): Pick<TreeEntry, 'size' | 'mtimeNs' | 'ctimeNs'> {
  return { size: null, mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs };
}

const WHAT = (stats: BigIntStats): string =>
  stats.isSymbolicLink()
    ? 'a symbolic link'
    : stats.isFIFO()
      ? 'a FIFO'
      : stats.isSocket()
        ? 'a socket'
        : 'a device';
