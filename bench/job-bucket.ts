/** Whether the bucket has what the folder has; and the bucket made empty again. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashOf } from '../scripts/demo/machine.js';
import { inLanes } from '../src/activities/lanes.js';
import type { ObjectStore } from '../src/infra/s3/store.js';
import type { MadeFolder } from './job-files.js';

const LANES = 16;

export interface Where {
  store: ObjectStore;
  bucket: string;
  prefix: string;
  signal: AbortSignal;
}

/** Throws unless the prefix holds each file of the folder, with its size, and nothing else. */
export async function compareSizes(where: Where, folder: MadeFolder): Promise<void> {
  let seen = 0;
  for await (const { key, size } of objectsUnder(where)) {
    const path = key.slice(where.prefix.length + 1);
    const expected = folder.sizes.get(path);
    if (expected !== size)
      throw new Error(`${key} has ${size} bytes, not ${expected ?? 'any: it is no file'}`);
    seen += 1;
  }
  if (seen !== folder.files) throw new Error(`${where.prefix} holds ${seen} objects, not ${folder.files}`);
}

/** Reads every object back. Throws when one has other bytes than its file. */
export async function compareBytes(
  { store, bucket, prefix, signal }: Where,
  folder: MadeFolder,
): Promise<void> {
  await inLanes(folder.sizes.keys(), LANES, { stop: signal, abort: signal }, async (path, abort) => {
    const file = createHash('sha256').update(await readFile(join(folder.path, path)));
    const object = await hashOf(await store.getObject({ bucket, key: `${prefix}/${path}` }, abort));
    if (object !== file.digest('hex')) throw new Error(`${prefix}/${path} has other bytes than its file`);
  });
  signal.throwIfAborted();
}

export async function emptyPrefix(where: Where): Promise<void> {
  const { store, bucket, signal } = where;
  let keys: string[] = [];
  const remove = async (): Promise<void> => {
    const [first] = await store.deleteObjects({ bucket, keys }, signal);
    if (first !== undefined) throw first.error;
    keys = [];
  };
  for await (const { key } of objectsUnder(where)) {
    keys.push(key);
    if (keys.length === 1000) await remove();
  }
  if (keys.length > 0) await remove();
}

async function* objectsUnder({
  store,
  bucket,
  prefix,
  signal,
}: Where): AsyncGenerator<{ key: string; size: number }> {
  const request = { bucket, prefix: `${prefix}/` };
  for (let next: string | undefined; ;) {
    const page = await store.listObjects(next === undefined ? request : { ...request, next }, signal);
    yield* page.objects;
    next = page.next;
    if (next === undefined) return;
  }
}
