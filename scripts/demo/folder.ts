/** The folder that the demo sends: real files, changed without touching those they were taken from. */
import { createHash } from 'node:crypto';
import {
  copyFile,
  constants,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MiB } from '../../src/core/limits.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';

export interface Sizes {
  files: number;
  bytes: number;
}

/** Neither a minute of a small machine nor its disk is used up. */
const MAX_FILES = 20_000;
const MAX_BYTES = 400 * MiB;
/** Native programs say nothing about small files. */
const LARGEST = 8 * MiB;

/** Hard links, or copies on another file system, to the files of `from`, up to the limits. */
export async function gather(from: string, to: string, signal: AbortSignal): Promise<Sizes> {
  const sizes: Sizes = { files: 0, bytes: 0 };
  for await (const path of filesUnder(from, '')) {
    signal.throwIfAborted();
    const { size } = await stat(join(from, path));
    if (size > LARGEST) continue;
    if (sizes.files >= MAX_FILES || sizes.bytes + size > MAX_BYTES) break;
    await mkdir(join(to, dirname(path)), { recursive: true });
    await linkOrCopy(join(from, path), join(to, path));
    sizes.files += 1;
    sizes.bytes += size;
  }
  return sizes;
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EXDEV' && code !== 'EPERM' && code !== 'EMLINK') throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }
}

/** Regular files, links not followed. */
async function* filesUnder(root: string, path: string): AsyncGenerator<string> {
  const entries = await readdir(join(root, path), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const below = path === '' ? entry.name : `${path}/${entry.name}`;
    if (entry.isDirectory()) yield* filesUnder(root, below);
    else if (entry.isFile()) yield below;
  }
}

export interface Changes {
  changed: string[];
  added: string[];
  removed: string[];
}

/** A few of each. A changed file takes the place of the old one, which may be a hard link to somebody else's. */
export async function change(folder: string): Promise<Changes> {
  const some: string[] = [];
  for await (const path of filesUnder(folder, '')) {
    some.push(path);
    if (some.length === 40) break;
  }
  const changes: Changes = {
    changed: some.filter((_, index) => index % 10 === 0),
    added: ['added by the demo/one.txt', 'added by the demo/two 😀.txt'],
    removed: some.filter((_, index) => index % 10 === 5),
  };
  for (const path of changes.changed) {
    await writeFile(join(folder, `${path}.draft`), `changed by the demo, ${new Date().toISOString()}\n`);
    await rename(join(folder, `${path}.draft`), join(folder, path));
  }
  for (const path of changes.added) {
    await mkdir(join(folder, dirname(path)), { recursive: true });
    await writeFile(join(folder, path), `added by the demo, ${path}\n`);
  }
  for (const path of changes.removed) await rm(join(folder, path));
  return changes;
}

/** Where the folder went. */
export interface Place {
  store: ObjectStore;
  bucket: string;
  prefix: string;
}

export interface Comparison extends Sizes {
  /** What is not the same, a line each; none: folder and bucket hold the same. */
  differences: string[];
}

/** Every object against its file: the ETag of a simple put is the MD5 of its bytes. */
export async function compareWithBucket(folder: string, at: Place, signal: AbortSignal): Promise<Comparison> {
  const there = await objectsOf(at, signal);
  const comparison: Comparison = { files: 0, bytes: 0, differences: [] };
  for await (const path of filesUnder(folder, '')) {
    signal.throwIfAborted();
    const bytes = await readFile(join(folder, path));
    const etag = there.get(path);
    if (etag === undefined) comparison.differences.push(`${path} is not in the bucket`);
    else if (etag !== md5Of(bytes)) comparison.differences.push(`${path} has other bytes in the bucket`);
    there.delete(path);
    comparison.files += 1;
    comparison.bytes += bytes.length;
  }
  for (const path of there.keys())
    comparison.differences.push(`${path} is in the bucket, and not in the folder`);
  return comparison;
}

/** ETag without its quotes, by path. */
async function objectsOf(
  { store, bucket, prefix }: Place,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let next: string | undefined; ;) {
    const page = await store.listObjects({ bucket, prefix, ...(next === undefined ? {} : { next }) }, signal);
    for (const { key, etag } of page.objects) found.set(key.slice(prefix.length), etag.replaceAll('"', ''));
    if (page.next === undefined) return found;
    next = page.next;
  }
}

/** Whether all of the changes, and nothing less, show in the bucket. */
export async function showsChanges(
  folder: string,
  { changed, added, removed }: Changes,
  { store, bucket, prefix }: Place,
  signal: AbortSignal,
): Promise<boolean> {
  const etagOf = async (path: string): Promise<string | undefined> =>
    (await store.headObject({ bucket, key: prefix + path }, signal))?.etag.replaceAll('"', '');
  for (const path of [...changed, ...added]) {
    if ((await etagOf(path)) !== md5Of(await readFile(join(folder, path)))) return false;
  }
  for (const path of removed) if ((await etagOf(path)) !== undefined) return false;
  return true;
}

function md5Of(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('hex');
}
