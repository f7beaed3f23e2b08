/**
 * Reading many small files below one folder, one folder after another. A folder is opened once and proved to be what
 * its path says; its files are opened through that descriptor, so that nothing above them can be swapped meanwhile.
 * Small ones are read synchronously, which costs a third less CPU than a detour over threads, as long as the file system
 * answers from memory.
 */
import { closeSync, constants, fstatSync, openSync, readSync, readlinkSync, realpathSync } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import type { ErrorCode, LongshoreError } from '../../core/errors.js';
import { KiB, MiB } from '../../core/limits.js';
import {
  fileError,
  isInside,
  openInside,
  pinOf,
  rootFolder,
  systemCode,
  systemFailure,
  type OpenedFile,
  type Roots,
} from './file-open.js';
import { HeldFolders } from './held-folders.js';

/** What the scan saw; a file that is anything else now is not read. */
export interface ExpectedFile {
  /** Below the job's folder. */
  path: string;
  size: number;
  /** Nanoseconds since 1970, decimal; null: not known. */
  mtimeNs: string | null;
}

export interface SmallFilesOptions {
  /** Links lead where they lead, while that is under the root; otherwise no part of a path may be one. */
  follow?: boolean;
  /** Milliseconds; tests pretend that reading takes long. */
  clock?: () => number;
}

/** A file too large for memory: read once for its checksum, and again as often as it is sent. */
export interface LargerFile {
  crc32: number;
  /** Ends with SourceChanged, before its last byte, when the file is not what it was. */
  open(): Readable;
  close(): Promise<void>;
}

/**
 * Every method throws SourceNotFound, SourceDenied, SourceInvalid, SourceOutsideRoot, SourceChanged (also when the file
 * changed while it was read), SourceUnavailable or RootUnavailable.
 */
export interface SmallFiles {
  /** Fills `target`, which is as long as the file, and looks again that nobody wrote meanwhile. */
  read(file: ExpectedFile, target: Buffer, signal: AbortSignal): Promise<void>;
  openLarger(file: ExpectedFile, signal: AbortSignal): Promise<LargerFile>;
  /** What the file is now; for one that is not what the scan saw. */
  look(path: string): Promise<ExpectedFile>;
  /** Throws unless the folder is there. A `/` at its end is left out. */
  checkFolder(path: string): Promise<void>;
  close(): void;
}

/** Larger files are read by the thread pool: the event loop must not stand still for them. */
const SYNC_BYTES = 256 * KiB;
/** Over this average the file system is no local one, and waiting for it would keep everything else waiting. */
const SLOW_MS = 2;
const STREAM_CHUNK = MiB;
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/** `folder` is relative to the root, '' for the root itself. */
export async function openSmallFiles(
  roots: Roots,
  folder: { root: string; path: string },
  options: SmallFilesOptions = {},
): Promise<SmallFiles> {
  const source = { kind: 'file' as const, ...folder };
  const root = await rootFolder(roots, source, 'open');
  let base: string;
  try {
    base = await realpath(folder.path === '' ? root : joined(root, folder.path));
  } catch (error) {
    throw systemFailure(error, source, 'open');
  }
  if (!isInside(root, base)) {
    throw fileError('SourceOutsideRoot', 'the folder leads out of its root', source, 'open');
  }
  return new Reader({ roots, folder, root, base }, options);
}

interface Place {
  roots: Roots;
  folder: { root: string; path: string };
  /** Real paths. */
  root: string;
  base: string;
}

class Reader implements SmallFiles {
  readonly #follow: boolean;
  readonly #clock: () => number;
  readonly #folders: HeldFolders;
  /** Where the system has no /proc, nothing can be opened below a descriptor. */
  readonly #viaDescriptor = hasProc();
  #averageMs = 0;
  #spared = 0;

  constructor(
    private readonly place: Place,
    { follow = false, clock = () => performance.now() }: SmallFilesOptions,
  ) {
    this.#follow = follow;
    this.#clock = clock;
    this.#folders = new HeldFolders(
      (path) => joined(place.base, path),
      (path, real) => {
        if (!this.#leadsRight(path, real))
          throw this.#error('SourceOutsideRoot', 'a link is on its way', path);
      },
    );
  }

  async read(file: ExpectedFile, target: Buffer, signal: AbortSignal): Promise<void> {
    if (target.length > SYNC_BYTES || !this.#mayWait()) return this.#readByThreads(file, target, signal);
    try {
      const began = this.#clock();
      this.#readAtOnce(file, target);
      this.#averageMs += (this.#clock() - began - this.#averageMs) / 16;
    } catch (error) {
      throw await this.#explain(error, file.path);
    }
  }

  async openLarger(file: ExpectedFile, signal: AbortSignal): Promise<LargerFile> {
    const handle = await this.#explained(file.path, () => this.#open(file));
    try {
      const crc = await this.#checksum(handle, file, signal);
      return {
        crc32: crc,
        open: () =>
          Readable.from(this.#chunks(handle, file, signal), {
            objectMode: false,
            highWaterMark: STREAM_CHUNK,
          }),
        close: () => handle.close(),
      };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async look(path: string): Promise<ExpectedFile> {
    const { handle, pin } = await this.#explained(path, () => this.#openAny(path));
    await handle.close();
    return { path, size: pin.size, mtimeNs: pin.mtimeNs };
  }

  async checkFolder(named: string): Promise<void> {
    const path = named.endsWith('/') ? named.slice(0, -1) : named;
    await this.#explained(path, async () => {
      const real = await realpath(joined(this.place.base, path));
      if (!this.#leadsRight(path, real)) throw this.#error('SourceOutsideRoot', 'a link is on its way', path);
    });
  }

  close(): void {
    this.#folders.close();
  }

  /** A slow file system is tried again now and then: it may only have been busy. */
  #mayWait(): boolean {
    if (!this.#viaDescriptor) return false;
    return this.#averageMs <= SLOW_MS || ++this.#spared % 32 === 0;
  }

  // ── Small ones ─────────────────────────────────────────────────────────────────────────────────────────────────

  #readAtOnce(file: ExpectedFile, target: Buffer): void {
    const fd = this.#openAtOnce(file.path);
    try {
      this.#compare(fstatSync(fd, { bigint: true }), file);
      let filled = 0;
      while (filled < target.length) {
        const count = readSync(fd, target, filled, target.length - filled, filled);
        if (count === 0) throw this.#changed(file.path, `it ends after ${filled} bytes`);
        filled += count;
      }
      this.#compare(fstatSync(fd, { bigint: true }), file);
    } finally {
      closeSync(fd);
    }
  }

  #openAtOnce(path: string): number {
    const { folder, name } = this.#split(path);
    const entry = this.#folders.entryAtOnce(folder, name);
    try {
      return openSync(entry, FILE_FLAGS);
    } catch (error) {
      if (systemCode(error) !== 'ELOOP') throw error;
      if (!this.#follow) throw this.#error('SourceOutsideRoot', 'a link took its place', path, error);
      return this.#openLinked(path, realpathSync(entry));
    }
  }

  #split(path: string): { folder: string; name: string } {
    const cut = path.lastIndexOf('/');
    const name = path.slice(cut + 1);
    if (name === '' || name === '.' || name === '..' || path.includes('\0')) {
      throw this.#error('SourceInvalid', 'it is no path of a file', path);
    }
    return { folder: path.slice(0, Math.max(0, cut)), name };
  }

  #openLinked(path: string, real: string): number {
    if (!isInside(this.place.root, real)) {
      throw this.#error('SourceOutsideRoot', 'the path leads out of its root', path);
    }
    const fd = openSync(real, FILE_FLAGS);
    if (isInside(this.place.root, readlinkSync(`/proc/self/fd/${fd}`))) return fd;
    closeSync(fd);
    throw this.#error('SourceOutsideRoot', 'the path leads out of its root', path);
  }

  #leadsRight(path: string, real: string): boolean {
    return this.#follow ? isInside(this.place.root, real) : real === joined(this.place.base, path);
  }

  // ── Larger ones, and slow file systems ─────────────────────────────────────────────────────────────────────────

  async #readByThreads(file: ExpectedFile, target: Buffer, signal: AbortSignal): Promise<void> {
    const handle = await this.#explained(file.path, () => this.#open(file));
    try {
      await this.#fill(handle, file, { target, position: 0 }, signal);
      await this.#lookAgain(handle, file);
    } finally {
      await handle.close();
    }
  }

  async #open(file: ExpectedFile): Promise<FileHandle> {
    const { handle, pin } = await this.#openAny(file.path);
    try {
      this.#compareFigures(pin, file);
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Whatever it is by now, as long as it is a file where the path says. */
  async #openAny(path: string): Promise<Pick<OpenedFile, 'handle' | 'pin'>> {
    if (!this.#viaDescriptor) return await this.#openByPath(path);
    const { folder, name } = this.#split(path);
    const held = await this.#folders.hold(folder);
    let handle: FileHandle;
    try {
      handle = await open(held.entry(name), FILE_FLAGS);
    } catch (error) {
      if (systemCode(error) !== 'ELOOP') throw error;
      if (!this.#follow) throw this.#error('SourceOutsideRoot', 'a link took its place', path, error);
      return await this.#openByPath(path);
    } finally {
      held.release();
    }
    try {
      const stats = await handle.stat({ bigint: true });
      if (!stats.isFile()) throw this.#error('SourceInvalid', 'it is no file any more', path);
      return { handle, pin: pinOf(stats) };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  #openByPath(path: string): Promise<OpenedFile> {
    return openInside(this.place.roots, this.#source(path), 'open');
  }

  async #checksum(handle: FileHandle, file: ExpectedFile, signal: AbortSignal): Promise<number> {
    const chunk = Buffer.allocUnsafe(STREAM_CHUNK);
    let crc = 0;
    for (let position = 0; position < file.size; position += STREAM_CHUNK) {
      const target = chunk.subarray(0, Math.min(STREAM_CHUNK, file.size - position));
      await this.#fill(handle, file, { target, position }, signal);
      crc = crc32(target, crc);
    }
    await this.#lookAgain(handle, file);
    return crc;
  }

  async *#chunks(handle: FileHandle, file: ExpectedFile, signal: AbortSignal): AsyncGenerator<Buffer> {
    for (let position = 0; position < file.size;) {
      const target = Buffer.allocUnsafe(Math.min(STREAM_CHUNK, file.size - position));
      await this.#fill(handle, file, { target, position }, signal);
      position += target.length;
      if (position >= file.size) await this.#lookAgain(handle, file);
      yield target;
    }
  }

  async #fill(
    handle: FileHandle,
    file: ExpectedFile,
    { target, position }: { target: Buffer; position: number },
    signal: AbortSignal,
  ): Promise<void> {
    let filled = 0;
    while (filled < target.length) {
      signal.throwIfAborted();
      const { bytesRead } = await handle
        .read(target, filled, target.length - filled, position + filled)
        .catch((error: unknown) => {
          throw systemFailure(error, this.#source(file.path), 'read');
        });
      if (bytesRead === 0) throw this.#changed(file.path, `it ends after ${position + filled} bytes`);
      filled += bytesRead;
    }
  }

  async #lookAgain(handle: FileHandle, file: ExpectedFile): Promise<void> {
    this.#compareFigures(pinOf(await handle.stat({ bigint: true })), file);
  }

  // ── What is wrong ──────────────────────────────────────────────────────────────────────────────────────────────

  #compare(stats: { size: bigint; mtimeNs: bigint; isFile(): boolean }, file: ExpectedFile): void {
    if (!stats.isFile()) throw this.#error('SourceInvalid', 'it is no file any more', file.path);
    this.#compareFigures({ size: Number(stats.size), mtimeNs: stats.mtimeNs.toString() }, file);
  }

  #compareFigures(now: { size: number; mtimeNs: string }, { path, size, mtimeNs }: ExpectedFile): void {
    if (now.size !== size) throw this.#changed(path, `it had ${size} bytes, now ${now.size}`);
    if (mtimeNs !== null && now.mtimeNs !== mtimeNs) throw this.#changed(path, 'it was written to');
  }

  #changed(path: string, how: string): LongshoreError {
    return this.#error('SourceChanged', how, path);
  }

  #error(code: ErrorCode, message: string, path: string, cause?: unknown): LongshoreError {
    return fileError(code, message, this.#source(path), 'read', cause);
  }

  #source(path: string): { kind: 'file'; root: string; path: string } {
    const { root, path: folder } = this.place.folder;
    return { kind: 'file', root, path: joined(folder, path) };
  }

  async #explained<T>(path: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw await this.#explain(error, path);
    }
  }

  /** A file that is missing together with its root is not gone. */
  async #explain(error: unknown, path: string): Promise<unknown> {
    const known = systemFailure(error, this.#source(path), 'read');
    if (known.code === 'SourceNotFound') await rootFolder(this.place.roots, this.#source(path), 'read');
    return known;
  }
}

function joined(folder: string, path: string): string {
  if (folder === '') return path;
  if (path === '') return folder;
  return folder.endsWith('/') ? `${folder}${path}` : `${folder}/${path}`;
}

function hasProc(): boolean {
  try {
    readlinkSync('/proc/self/exe');
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EACCES') return false;
    throw error;
  }
}
