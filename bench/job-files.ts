/** Folders of files to send. Every file has bytes of its own, so that no object can pass for another. */
import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { MiB } from '../src/core/limits.js';

export interface FileSet {
  count: number;
  /** Bytes each. */
  size: number;
}

export interface MadeFolder {
  path: string;
  files: number;
  bytes: number;
  /** Paths below the folder with the bytes each. */
  sizes: Map<string, number>;
}

/** As many to a folder as keep either kind of directory short. */
const A_FOLDER = 200;

export async function makeTree(
  path: string,
  sets: readonly FileSet[],
  signal: AbortSignal,
): Promise<MadeFolder> {
  const random = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const sizes = new Map<string, number>();
  let bytes = 0;
  for (const [set, { count, size }] of sets.entries()) {
    for (let index = 0; index < count; index++) {
      const name = nameOf(set, index);
      if (index % A_FOLDER === 0) mkdirSync(join(path, name, '..'), { recursive: true });
      await writeRandom(join(path, name), size, random);
      sizes.set(name, size);
      bytes += size;
      if (index % 500 === 0) await breathe(undefined, { signal });
    }
  }
  return { path, files: sizes.size, bytes, sizes };
}

function nameOf(set: number, index: number): string {
  const folder = String(Math.floor(index / A_FOLDER)).padStart(4, '0');
  return `s${set}/d${folder}/f${String(index).padStart(6, '0')}`;
}

async function writeRandom(
  path: string,
  size: number,
  random: ReturnType<typeof createCipheriv>,
): Promise<void> {
  if (size <= MiB) return writeFileSync(path, random.update(ZEROS.subarray(0, size)));
  const file = await open(path, 'wx');
  try {
    for (let left = size; left > 0; left -= MiB) {
      await file.write(random.update(ZEROS.subarray(0, Math.min(left, MiB))));
    }
  } finally {
    await file.close();
  }
}

const ZEROS = Buffer.alloc(MiB);

/** The names of the files of `makeTiny`, below their folder. */
export function* tinyNames(count: number): Generator<string> {
  const folders = Math.min(1000, count);
  const each = Math.ceil(count / folders);
  for (let index = 0; index < count; index++) {
    yield `d${String(Math.floor(index / each)).padStart(3, '0')}/f${String(index).padStart(7, '0')}`;
  }
}

/** Files of 16 bytes, each its own number, spread over a thousand folders. */
export async function makeTiny(path: string, count: number, signal: AbortSignal): Promise<void> {
  let folder = '';
  let index = 0;
  for (const name of tinyNames(count)) {
    const under = name.slice(0, name.indexOf('/'));
    if (under !== folder) {
      folder = under;
      mkdirSync(join(path, folder), { recursive: true });
      await breathe(undefined, { signal });
    }
    writeFileSync(join(path, name), String(index++).padStart(16, '0'));
  }
}
