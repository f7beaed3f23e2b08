/**
 * Parts of a run that was killed may live still: its guard is at it, or was killed too. Two servers on the same files
 * would spoil them, so a start waits until they are gone, and ends them where nobody does.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LongshoreError } from '../core/errors.js';
import { GUARD_NAME } from './guard.js';
import { commandLine, isAlive, sendSignal } from './identity.js';

const GUARD_MS = 3000;
const GRACE_MS = 8000;

/** `pids` of the former run; only processes whose arguments name the data folder are taken for its parts. */
export async function endOrphans(
  dataDir: string,
  pids: Readonly<Record<string, number>>,
  log: (line: string) => void,
): Promise<void> {
  const orphans = Object.entries(pids).filter(
    ([name, pid]) => name !== 'dev' && name !== 'guard' && isPartOf(dataDir, pid),
  );
  const guarded = pids['guard'] !== undefined && commandLine(pids['guard']).includes(GUARD_NAME);
  await Promise.all(orphans.map(([name, pid]) => endOrphan({ dataDir, name, pid, guarded }, log)));
}

interface Orphan {
  dataDir: string;
  name: string;
  pid: number;
  /** Its guard lives, and is ending it. */
  guarded: boolean;
}

async function endOrphan(orphan: Orphan, log: (line: string) => void): Promise<void> {
  const { dataDir, name, pid, guarded } = orphan;
  log(`${name} of an earlier run (pid ${pid}) still holds the data; it is ended`);
  if (guarded && (await isGone(dataDir, pid, GUARD_MS))) return;
  // PostgreSQL takes SIGTERM as "when the last client has left".
  sendSignal(pid, name === 'postgres' ? 'SIGINT' : 'SIGTERM');
  if (await isGone(dataDir, pid, GRACE_MS)) return;
  sendSignal(pid, 'SIGKILL');
  if (await isGone(dataDir, pid, GRACE_MS)) return;
  throw new LongshoreError('Internal', `${name} of an earlier run (pid ${pid}) does not end`, {
    op: 'start',
    key: name,
    hint: `End process ${pid}, then start again.`,
  });
}

async function isGone(dataDir: string, pid: number, withinMs: number): Promise<boolean> {
  for (const began = performance.now(); performance.now() - began < withinMs; await delay(50)) {
    if (!isPartOf(dataDir, pid)) return true;
  }
  return false;
}

function isPartOf(dataDir: string, pid: number): boolean {
  return isAlive(pid) && commandLine(pid).includes(dataDir);
}
