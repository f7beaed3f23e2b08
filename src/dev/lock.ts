/** A lock file that names its holder, so that one whose holder died is taken over. */
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { isSameProcess, processStart } from './identity.js';

export interface Lock {
  release(): Promise<void>;
}

export interface Holder {
  pid: number;
  start?: string | undefined;
}

/** The lock, or who holds it. */
export async function tryLock(path: string): Promise<Lock | Holder> {
  await mkdir(dirname(path), { recursive: true });
  const mine = JSON.stringify({ pid: process.pid, start: processStart(process.pid), nonce: randomUUID() });
  for (;;) {
    if (await createWhole(path, mine)) return { release: () => releaseLock(path, mine) };
    const text = await readIfThere(path);
    if (text === undefined) continue;
    const holder = parseHolder(text);
    if (holder !== undefined && isSameProcess(holder.pid, holder.start)) return holder;
    await removeStale(path, text);
  }
}

export function isLock(answer: Lock | Holder): answer is Lock {
  return 'release' in answer;
}

/** A hard link appears with its content or not at all, unlike a file that is created and then written. */
async function createWhole(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  await writeFile(draft, text, { mode: 0o600 });
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Moves the dead holder's file aside; if a living one's was caught instead, puts it back. */
async function removeStale(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const caught = await readIfThere(aside);
  if (caught !== undefined && caught !== stale) await createWhole(path, caught);
  await rm(aside, { force: true });
}

async function releaseLock(path: string, mine: string): Promise<void> {
  if ((await readIfThere(path)) === mine) await rm(path, { force: true });
}

export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value = JSON.parse(text) as Partial<Holder>;
    return typeof value.pid === 'number' ? { pid: value.pid, start: value.start } : undefined;
  } catch {
    // Not ours, or damaged: nobody who lives can be found through it.
    return undefined;
  }
}
