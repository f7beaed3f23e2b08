/** Whether a file has other bytes than those that were sent, though its size and time are the same. */
import { closeSync, read as readWithCallback } from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from '@node-rs/crc32';
import { MiB } from '../core/limits.js';
import { isDenied, isGone, unreadable } from '../infra/sources/tree-folder.js';
import type { Tree, TreeEntry } from '../infra/sources/tree.js';
import { crcToBase64 } from './ledger.js';

const read = promisify(readWithCallback);

/**
 * Reads the file at which the walk is. `checksum` is `crc32:<base64>`; what was sent without one counts as different.
 * What cannot be read does too: sending it will say why.
 */
export async function differsInContent(
  tree: Tree,
  entry: TreeEntry,
  checksum: string | null,
  signal: AbortSignal,
): Promise<boolean> {
  if (checksum === null) return true;
  let fd: number;
  try {
    fd = tree.open();
  } catch (error) {
    if (isDenied(error) || isGone(error)) return true;
    throw unreadable(error, entry.path);
  }
  try {
    return `crc32:${crcToBase64(await crcOf(fd, entry.size ?? 0, signal))}` !== checksum;
  } catch (error) {
    signal.throwIfAborted();
    throw unreadable(error, entry.path);
  } finally {
    closeSync(fd);
  }
}

async function crcOf(fd: number, size: number, signal: AbortSignal): Promise<number> {
  const buffer = Buffer.allocUnsafe(Math.min(Math.max(size, 1), MiB));
  let crc = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await read(fd, buffer, 0, buffer.length, null);
    if (bytesRead === 0) return crc;
    crc = crc32(buffer.subarray(0, bytesRead), crc);
  }
}
