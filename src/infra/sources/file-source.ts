/** Files under named roots: positioned reads on one descriptor, compared with what was pinned. */
import { stat, type FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { lookup as mimeOf } from 'mime-types';
import { LongshoreError } from '../../core/errors.js';
import type { FileSource } from '../../core/uploads.js';
import type { PinnedSource } from '../../core/upload-steps.js';
import {
  fileError,
  openInside,
  pinOf,
  rootFolder,
  systemCode,
  systemFailure,
  type FileHooks,
  type FilePin,
  type OpenedFile,
  type Roots,
} from './file-open.js';
import type { OpenSource, SourceKind } from './source.js';

type PinnedFile = PinnedSource & { kind: 'file' };

const STREAM_CHUNK = 1024 * 1024;

export function createFileSource(roots: Roots, hooks: FileHooks = {}): SourceKind<FileSource> {
  return {
    async inspect(source, signal) {
      signal.throwIfAborted();
      const { handle, pin } = await openInside(roots, source, 'inspect', hooks);
      try {
        if (pin.size === 0) await refuseUnmeasured(handle, source);
        const { kind, root, path } = source;
        return {
          pinned: { kind, root, path, ...pin },
          contentType: mimeOf(path) || undefined,
          access: 'random',
        };
      } finally {
        await handle.close();
      }
    },

    async open(pinned, signal) {
      signal.throwIfAborted();
      const opened = await openPinned(roots, pinned, hooks);
      return openSource(roots, pinned, opened);
    },
  };
}

function openSource(roots: Roots, pinned: PinnedFile, { handle, pin, path }: OpenedFile): OpenSource {
  return {
    async check(signal) {
      signal.throwIfAborted();
      const held = await handle.stat({ bigint: true }).catch((error: unknown) => {
        throw systemFailure(error, pinned, 'check');
      });
      refuseDifference(pinned, pinOf(held), 'check');
      const named = await stat(path, { bigint: true }).catch(async (error: unknown) => {
        throw await missingFailure(roots, pinned, error, 'check');
      });
      if (pinOf(named).inode !== pin.inode) throw changed(pinned, 'another file is in its place', 'check');
    },

    read: (offset, target, signal) => readFully(handle, pinned, offset, target, signal),

    stream(offset, length, signal) {
      const end = length === undefined ? pinned.size : offset + length;
      const chunks = chunksOf(handle, pinned, offset, end, signal);
      return Promise.resolve(Readable.from(chunks, { objectMode: false, highWaterMark: STREAM_CHUNK }));
    },

    close: () => handle.close(),
  };
}

/** What was pinned and cannot be found, or is something else now, has changed. */
async function openPinned(roots: Roots, pinned: PinnedFile, hooks: FileHooks): Promise<OpenedFile> {
  let opened: OpenedFile;
  try {
    opened = await openInside(roots, pinned, 'open', hooks);
  } catch (error) {
    if (!(error instanceof LongshoreError)) throw error;
    if (error.code === 'SourceNotFound') throw changed(pinned, 'it is gone', 'open', error);
    if (error.code === 'SourceInvalid') throw changed(pinned, 'it is no file any more', 'open', error);
    throw error;
  }
  try {
    refuseDifference(pinned, opened.pin, 'open');
    return opened;
  } catch (error) {
    await opened.handle.close();
    throw error;
  }
}

/**
 * The device number is left out: network file systems number themselves anew on each host and at each mount, and an
 * upload may go on after either.
 */
function refuseDifference(pinned: PinnedFile, now: FilePin, op: string): void {
  if (now.size !== pinned.size) throw changed(pinned, `it had ${pinned.size} bytes, now ${now.size}`, op);
  if (inodeNumber(now.inode) !== inodeNumber(pinned.inode))
    throw changed(pinned, 'another file is in its place', op);
  if (now.mtimeNs !== pinned.mtimeNs) throw changed(pinned, 'it was written to', op);
}

function inodeNumber(inode: string): string {
  return inode.slice(inode.indexOf(':') + 1);
}

async function missingFailure(
  roots: Roots,
  pinned: PinnedFile,
  error: unknown,
  op: string,
): Promise<LongshoreError> {
  const code = systemCode(error);
  if (code !== 'ENOENT' && code !== 'ENOTDIR') return systemFailure(error, pinned, op);
  // A root that went away is mounted again; its files did not change.
  await rootFolder(roots, pinned, op);
  return changed(pinned, 'it is gone', op, error);
}

async function readFully(
  handle: FileHandle,
  pinned: PinnedFile,
  offset: number,
  target: Buffer,
  signal: AbortSignal,
): Promise<void> {
  let filled = 0;
  while (filled < target.length) {
    signal.throwIfAborted();
    const bytesRead = await readOnce(handle, pinned, offset + filled, target, filled);
    if (bytesRead === 0) throw changed(pinned, `it ends after ${offset + filled} bytes`, 'read');
    filled += bytesRead;
  }
}

async function readOnce(
  handle: FileHandle,
  pinned: FileSource,
  position: number,
  target: Buffer,
  at: number,
): Promise<number> {
  try {
    return (await handle.read(target, at, target.length - at, position)).bytesRead;
  } catch (error) {
    throw systemFailure(error, pinned, 'read');
  }
}

async function* chunksOf(
  handle: FileHandle,
  pinned: PinnedFile,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  for (let position = start; position < end;) {
    const chunk = Buffer.allocUnsafe(Math.min(STREAM_CHUNK, end - position));
    await readFully(handle, pinned, position, chunk, signal);
    position += chunk.length;
    yield chunk;
  }
}

/** Files of /proc and the like say 0 bytes and hold more: sent as they are, they would arrive empty. */
async function refuseUnmeasured(handle: FileHandle, source: FileSource): Promise<void> {
  if ((await readOnce(handle, source, 0, Buffer.alloc(1), 0)) > 0) {
    throw fileError('SourceInvalid', 'it says 0 bytes and holds some', source, 'inspect');
  }
}

function changed(pinned: FileSource, how: string, op: string, cause?: unknown): LongshoreError {
  return fileError('SourceChanged', how, pinned, op, cause);
}
