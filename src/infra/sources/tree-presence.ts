/** Whether files that a walk did not meet are really not there: asked right before something is done for good. */
import { opendirSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import type { JobSource } from '../../core/jobs.js';
import { fileError, isInside, rootFolder, systemFailure, type Roots } from './file-open.js';
import {
  closeFolder,
  isGone,
  look,
  openAlong,
  openBelow,
  openFolder,
  targetOf,
  type Folder,
} from './tree-folder.js';
import { bytesOf, systemPath } from './tree-names.js';

export interface Wanted {
  /** Below the job's folder; that of a marker ends in `/`. */
  path: string;
  /** Stands for a folder that is empty. */
  marker: boolean;
}

/** Throws RootUnavailable, SourceNotFound, SourceDenied, SourceOutsideRoot, SourceInvalid, SourceUnavailable. */
export async function openPresence(
  roots: Roots,
  source: JobSource,
  options: { follow: boolean },
): Promise<Presence> {
  const op = 'look for files';
  const file = { kind: 'file', ...source } as const;
  const root = await rootFolder(roots, file, op);
  try {
    const base = await realpath(source.path === '' ? root : `${root}/${source.path}`);
    if (!isInside(root, base))
      throw fileError('SourceOutsideRoot', 'the path leads out of its root', file, op);
    return new Presence(bytesOf(root), bytesOf(base), options.follow);
  } catch (error) {
    throw systemFailure(error, file, op);
  }
}

/** Looks from the folder that was opened, so that one which is unmounted or replaced meanwhile is not taken for empty. */
export class Presence {
  private readonly rootFolder: Folder;
  private readonly base: Folder;
  /** The folder of the last file: they come in the order of their paths. */
  private last: { path: string; folder: Folder } | undefined;

  constructor(
    private readonly root: string,
    base: string,
    private readonly follow: boolean,
  ) {
    this.rootFolder = openFolder(root);
    try {
      this.base = openFolder(base);
    } catch (error) {
      closeFolder(this.rootFolder);
      throw error;
    }
  }

  /**
   * False only where the system says that nothing is there, or a folder is in the file's place. What cannot be looked
   * at is there for all we know.
   */
  mayBeThere({ path, marker }: Wanted): boolean {
    const bytes = bytesOf(path.endsWith('/') ? path.slice(0, -1) : path);
    try {
      return marker ? this.isEmptyFolder(bytes) : this.isThere(bytes);
    } catch (error) {
      return !isGone(error);
    }
  }

  close(): void {
    this.forget();
    closeFolder(this.base);
    closeFolder(this.rootFolder);
  }

  private isThere(path: string): boolean {
    const cut = Math.max(path.lastIndexOf('/'), 0);
    const folder = this.folderOf(path.slice(0, cut));
    const name = path.slice(cut === 0 ? 0 : cut + 1);
    const stats = look(folder, name);
    if (stats === undefined || stats.isDirectory()) return false;
    return !(this.follow && stats.isSymbolicLink() && this.leadsToFolder(path));
  }

  /** As the walk sees it: such a link is a folder. One that leads nowhere is still a file that cannot be sent. */
  private leadsToFolder(path: string): boolean {
    try {
      closeFolder(this.open(path));
      return true;
    } catch (error) {
      if (error instanceof Outside || isGone(error)) return false;
      throw error;
    }
  }

  private isEmptyFolder(path: string): boolean {
    const folder = this.open(path);
    try {
      const listing = opendirSync(systemPath(folder.base));
      try {
        return listing.readSync() === null;
      } finally {
        listing.closeSync();
      }
    } finally {
      closeFolder(folder);
    }
  }

  private folderOf(path: string): Folder {
    if (this.last?.path === path) return this.last.folder;
    const folder = this.open(path);
    this.forget();
    this.last = { path, folder };
    return folder;
  }

  private open(path: string): Folder {
    if (path === '') return openBelow(this.base, '.');
    if (!this.follow) return openAlong(this.base, path);
    const real = targetOf(this.base, path);
    if (real === undefined) throw new Nowhere(path);
    if (!isInside(this.root, real)) throw new Outside(path);
    return openAlong(this.rootFolder, real.slice(this.root.length).replace(/^\//, ''));
  }

  private forget(): void {
    if (this.last !== undefined) closeFolder(this.last.folder);
    this.last = undefined;
  }
}

/** A link leads out of the root: what is there is not ours to look at. */
class Outside extends Error {}

class Nowhere extends Error {
  readonly code = 'ENOENT';
}
