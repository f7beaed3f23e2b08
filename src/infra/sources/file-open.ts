/**
 * Opens a file under a named root. That it lies inside is proved after it was opened, because a check before opening
 * says nothing about what a name stands for a moment later.
 */
import { constants, type BigIntStats } from 'node:fs';
import { lstat, open, readlink, realpath, stat, type FileHandle } from 'node:fs/promises';
import { dirname, normalize } from 'node:path';
import { LongshoreError, type ErrorCode } from '../../core/errors.js';
import { sourceLabel, type FileSource } from '../../core/uploads.js';

export type Roots = Readonly<Record<string, string>>;

/** What identifies a file's bytes. */
export interface FilePin {
  size: number;
  /** Nanoseconds since 1970, decimal. */
  mtimeNs: string;
  /** `device:inode`. */
  inode: string;
}

export interface OpenedFile {
  handle: FileHandle;
  pin: FilePin;
  /** The path that was asked for, its links not followed. */
  path: string;
}

/** Called between the check of a path and its opening; tests swap files there. */
export interface FileHooks {
  beforeOpen?: (() => Promise<void>) | undefined;
}

const FLAGS =
  constants.O_RDONLY |
  constants.O_NOFOLLOW |
  // Opening a FIFO for reading would wait for a writer.
  constants.O_NONBLOCK |
  constants.O_NOCTTY;

/**
 * The caller closes the handle. Throws SourceOutsideRoot, SourceNotFound, SourceDenied, SourceInvalid (no regular file),
 * RootUnavailable, SourceUnavailable.
 */
export async function openInside(
  roots: Roots,
  source: FileSource,
  op: string,
  hooks: FileHooks = {},
): Promise<OpenedFile> {
  refuseBadPath(source, op);
  const root = await rootFolder(roots, source, op);
  // Joined as text: the kernel, not the spelling, decides what `..` after a link means.
  const path = root === '/' ? `/${source.path}` : `${root}/${source.path}`;
  const real = await realInside(root, path, source, op);
  await attempt(source, op, async () => refuseSpecial(await stat(real, { bigint: true }), source, op));
  await hooks.beforeOpen?.();
  const handle = await openReal(real, source, op);
  try {
    const stats = await attempt(source, op, () => handle.stat({ bigint: true }));
    refuseSpecial(stats, source, op);
    await proveInside(handle, stats, root, real, source, op);
    return { handle, pin: pinOf(stats), path };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

export function pinOf(stats: BigIntStats): FilePin {
  return {
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs.toString(),
    inode: `${stats.dev.toString()}:${stats.ino.toString()}`,
  };
}

/** The root's real path. Whatever keeps a root from being read is for a person to repair. */
export async function rootFolder(roots: Roots, source: FileSource, op: string): Promise<string> {
  const folder = Object.hasOwn(roots, source.root) ? roots[source.root] : undefined;
  if (folder === undefined) throw rootUnavailable(source, op, 'this worker has no such root');
  try {
    const root = await realpath(folder);
    // Through the folder, not at it: that needs the permission its files need.
    await stat(`${root}/.`);
    return root;
  } catch (error) {
    throw rootUnavailable(source, op, `${folder} cannot be read (${systemCode(error)})`, error);
  }
}

function rootUnavailable(source: FileSource, op: string, why: string, cause?: unknown): LongshoreError {
  const message = `root ${JSON.stringify(source.root)}: ${why}`;
  return new LongshoreError('RootUnavailable', message, { op, key: sourceLabel(source), cause });
}

// ── Where a path leads ───────────────────────────────────────────────────────────────────────────────────────────

function refuseBadPath(source: FileSource, op: string): void {
  const { path } = source;
  if (path === '') throw fileError('SourceOutsideRoot', 'the path is empty', source, op);
  if (path.includes('\0')) throw fileError('SourceOutsideRoot', 'the path holds a NUL', source, op);
  if (path.startsWith('/')) throw fileError('SourceOutsideRoot', 'the path is absolute', source, op);
  // Node would write U+FFFD in its place, and so name another file.
  if (/\p{Surrogate}/u.test(path))
    throw fileError('SourceInvalid', 'the path holds half a character', source, op);
  const plain = normalize(path);
  // Before anything is looked at, so that no answer tells what exists elsewhere.
  if (plain === '..' || plain.startsWith('../')) throw outside(source, op);
}

async function realInside(root: string, path: string, source: FileSource, op: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    if (!(await existingPartInside(root, path))) throw outside(source, op);
    throw systemFailure(error, source, op);
  }
  if (!isInside(root, real)) throw outside(source, op);
  return real;
}

/** A link out of the root must not tell whether something is behind it. */
async function existingPartInside(root: string, path: string): Promise<boolean> {
  for (let part = dirname(path); part.length > root.length; part = dirname(part)) {
    const real = await realpath(part).catch((error: unknown) => systemCode(error));
    if (real.startsWith('/')) return isInside(root, real);
  }
  return true;
}

/** Both real paths; the root may be `/`. */
export function isInside(root: string, real: string): boolean {
  return real === root || real.startsWith(root.endsWith('/') ? root : `${root}/`);
}

async function openReal(real: string, source: FileSource, op: string): Promise<FileHandle> {
  try {
    return await open(real, FLAGS);
  } catch (error) {
    if (systemCode(error) === 'ELOOP') {
      throw fileError('SourceOutsideRoot', 'a link took its place while it was opened', source, op, error);
    }
    throw systemFailure(error, source, op);
  }
}

/** Linux says which file a descriptor stands for; elsewhere the path must still lead to the same one. */
async function proveInside(
  handle: FileHandle,
  stats: BigIntStats,
  root: string,
  real: string,
  source: FileSource,
  op: string,
): Promise<void> {
  const inside = await attempt(source, op, async () => {
    const held = await describedPath(handle);
    if (held !== undefined) return isInside(root, held);
    const there = await lstat(real, { bigint: true });
    return (await realpath(real)) === real && there.dev === stats.dev && there.ino === stats.ino;
  });
  if (!inside) throw outside(source, op);
}

/** undefined where the system does not tell: no Linux, or /proc not mounted. */
async function describedPath(handle: FileHandle): Promise<string | undefined> {
  try {
    return await readlink(`/proc/self/fd/${handle.fd}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function refuseSpecial(stats: BigIntStats, source: FileSource, op: string): void {
  if (stats.isFile()) return;
  const what = stats.isDirectory()
    ? 'a folder'
    : stats.isFIFO()
      ? 'a FIFO'
      : stats.isSocket()
        ? 'a socket'
        : 'a device';
  throw fileError('SourceInvalid', `it is ${what}, not a file`, source, op);
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────

function outside(source: FileSource, op: string): LongshoreError {
  return fileError('SourceOutsideRoot', 'the path leads out of its root', source, op);
}

export function fileError(
  code: ErrorCode,
  message: string,
  source: FileSource,
  op: string,
  cause?: unknown,
): LongshoreError {
  const label = sourceLabel(source);
  return new LongshoreError(code, `${label}: ${message}`, { op, key: label, cause });
}

const SYSTEM_CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['SourceNotFound', 'there is no such file'],
  ENOTDIR: ['SourceNotFound', 'there is no such file, for a part of its path is no folder'],
  EACCES: ['SourceDenied', 'the worker may not read it'],
  EPERM: ['SourceDenied', 'the worker may not read it'],
  EISDIR: ['SourceInvalid', 'it is a folder'],
  ELOOP: ['SourceInvalid', 'its links lead to each other'],
  ENAMETOOLONG: ['SourceInvalid', 'its name is too long for the file system'],
  ENXIO: ['SourceInvalid', 'it is a device or a socket that nobody serves'],
};

/** What a system call's failure means. What is not listed (EIO, ESTALE, EMFILE …) may pass. */
export function systemFailure(error: unknown, source: FileSource, op: string): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const said = systemCode(error);
  const [code, what] = SYSTEM_CODES[said] ?? ['SourceUnavailable', 'it cannot be read'];
  return fileError(code, `${what} (${said})`, source, op, error);
}

export function systemCode(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : String(error);
}

async function attempt<T>(source: FileSource, op: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw systemFailure(error, source, op);
  }
}
