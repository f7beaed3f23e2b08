/**
 * Folders held open, and looked at through what is held: a name below is looked up in the folder itself, wherever
 * someone moves it meanwhile, and a link that takes a folder's place is not followed. All calls are synchronous: for
 * small things the way to a thread and back costs more than the call.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  realpathSync,
  statSync,
  type BigIntStats,
} from 'node:fs';
import { LongshoreError } from '../../core/errors.js';
import { systemCode } from './file-open.js';
import { systemPath } from './tree-names.js';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/** Linux resolves names under this path from the open folder on. */
const HELD = process.platform === 'linux';

export interface Folder {
  fd: number;
  /** What names below are looked up with; ends in `/`. */
  base: string;
}

/** `path` is real: no part of it is a link. Throws the system's own error. */
export function openFolder(path: string): Folder {
  const fd = openSync(systemPath(path), FOLDER);
  return { fd, base: HELD ? `/proc/self/fd/${fd}/` : `${path}/` };
}

export function openBelow(parent: Folder, name: string): Folder {
  return openFolder(parent.base + name);
}

/** Part by part, from a folder that is real. `path` is relative to it; the empty one is the folder itself. */
export function openAlong(root: Folder, path: string): Folder {
  let folder = openBelow(root, '.');
  for (const name of path.split('/').filter((part) => part !== '')) {
    const above = folder;
    try {
      folder = openBelow(above, name);
    } finally {
      closeFolder(above);
    }
  }
  return folder;
}

export function closeFolder({ fd }: Folder): void {
  closeSync(fd);
}

/** The names of a folder; throws EACCES too where they may be read but not used. */
export function namesOf(folder: Folder): string[] {
  statSync(systemPath(`${folder.base}.`));
  return readdirSync(systemPath(folder.base), 'latin1');
}

/** undefined: it is gone. */
export function look(folder: Folder, name: string): BigIntStats | undefined {
  return lstatSync(systemPath(folder.base + name), { bigint: true, throwIfNoEntry: false });
}

/** `device:inode`. */
export function identityOf(folder: Folder): string {
  const { dev, ino } = fstatSync(folder.fd, { bigint: true });
  return `${dev}:${ino}`;
}

/** Where a link leads in the end, in bytes; undefined where that is nowhere. */
export function targetOf(folder: Folder, name: string): string | undefined {
  try {
    return realpathSync.native(systemPath(folder.base + name), 'latin1');
  } catch (error) {
    if (NOWHERE.has(systemCode(error))) return undefined;
    throw error;
  }
}

const NOWHERE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

/** For reading, if it is still no link. */
export function openFile(folder: Folder, name: string): number {
  return openSync(systemPath(folder.base + name), FILE);
}

/** A failure that may pass: nothing may be concluded from it. */
export function unreadable(error: unknown, path: string): LongshoreError {
  const message = `${path}: it cannot be read (${systemCode(error)})`;
  return new LongshoreError('SourceUnavailable', message, { op: 'scan', key: path, cause: error });
}

export function isDenied(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes(systemCode(error));
}

/** Not there, or something else is in its place. */
export function isGone(error: unknown): boolean {
  return NOWHERE.has(systemCode(error));
}
