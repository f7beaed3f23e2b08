/** The second half of the demo: a real folder, its monitor, and what the monitor makes of a few changes. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startCommand, type CommandOptions } from './command.js';
import {
  change,
  compareWithBucket,
  gather,
  showsChanges,
  type Changes,
  type Comparison,
  type Place,
} from './folder.js';
import { mebibytes, type Narrator } from './narrator.js';

/** What the demo uses of the last line of `sync --json`. */
export interface JobLine {
  id: string;
  state: string;
  files: number;
  bytes: number;
  sent: number;
  unchanged: number;
  failed: number;
  deleted: number;
  seconds: number;
  webUi: string | null;
}

export interface JobScene {
  tell: Narrator;
  signal: AbortSignal;
  command: CommandOptions;
  place: Place;
  /** Where the folder is made. */
  parent: string;
  /** Where its files are taken from. */
  from: string;
}

export interface JobOutcome {
  first: JobLine;
  changes: Changes;
  /** Seconds from the last change to the moment when the bucket showed all of them. */
  noticed: number;
  comparison: Comparison;
  /** The same command once more. */
  again: JobLine;
}

export const JOB_ID = 'demo-folder';
/** Seconds. */
const INTERVAL = 3;
const PATIENCE_MS = 120_000;

export async function playJob(scene: JobScene): Promise<JobOutcome> {
  const { tell, signal, place, parent, from } = scene;
  const folder = join(parent, 'folder');
  tell.step(`Making a folder of this project's own node_modules`);
  const sizes = await gather(from, folder, signal);
  tell.done(`${count(sizes.files)} files, ${mebibytes(sizes.bytes)}`);

  tell.step(`longshore sync folder s3://${place.bucket}/${place.prefix} --interval ${INTERVAL}s`);
  const first = await sync(scene, folder);
  const rate = count(Math.round(first.sent / first.seconds));
  tell.done(
    `${first.state} after ${first.seconds.toFixed(1)} s: ${count(first.sent)} files sent, ${rate} a second`,
  );

  const changes = await change(folder);
  const began = performance.now();
  tell.step(
    `Changing ${changes.changed.length} files, adding ${changes.added.length}, removing ${changes.removed.length}`,
  );
  while (!(await showsChanges(folder, changes, place, signal))) {
    if (performance.now() - began > PATIENCE_MS)
      throw new Error('the monitor did not bring the bucket up to date');
    await delay(200, undefined, { signal });
  }
  const noticed = (performance.now() - began) / 1000;
  tell.done(`the bucket shows all of it ${noticed.toFixed(1)} s later; nobody ran a command`);

  tell.step('Reading every file, and comparing it with its object');
  const comparison = await compareWithBucket(folder, place, signal);
  tell.done(
    `${count(comparison.files)} files, ${mebibytes(comparison.bytes)}, ${comparison.differences.length} differ`,
  );

  tell.step('The same command again');
  const again = await sync(scene, folder);
  tell.done(`${again.seconds.toFixed(1)} s: ${count(again.sent)} sent, ${count(again.unchanged)} unchanged`);
  return { first, changes, noticed, comparison, again };
}

async function sync({ command, place }: JobScene, folder: string): Promise<JobLine> {
  const to = `s3://${place.bucket}/${place.prefix}`;
  const times = ['--interval', `${INTERVAL}s`, '--stability', '1s'];
  const running = startCommand<JobLine>(
    ['sync', folder, to, '--id', JOB_ID, '--delete', '--quiet', ...times],
    command,
  );
  try {
    return await running.result;
  } finally {
    await running.stop();
  }
}

/** The summary, and what is not as it must be. */
export function concludeJob(
  { first, changes, noticed, comparison, again }: JobOutcome,
  tell: Narrator,
): string[] {
  const { changed, added, removed } = changes;
  tell.table([
    ['folder', `${count(first.files)} files, ${mebibytes(first.bytes)}`],
    [
      'sent',
      `${first.seconds.toFixed(1)} s, ${count(Math.round(first.sent / first.seconds))} files a second`,
    ],
    ['changes', `${changed.length} changed, ${added.length} added, ${removed.length} removed`],
    ['noticed', `${noticed.toFixed(1)} s later, by the monitor (every ${INTERVAL} s)`],
    ['bucket', comparison.differences.length === 0 ? 'equal to the folder, byte for byte' : 'NOT EQUAL'],
    [
      'once more',
      `${again.seconds.toFixed(1)} s, ${count(again.sent)} sent, ${count(again.unchanged)} unchanged`,
    ],
    ['Web UI', first.webUi ?? 'unknown'],
  ]);
  return [
    ...comparison.differences.slice(0, 5),
    ...(first.sent === first.files && first.failed === 0
      ? []
      : [`${first.files - first.sent} files were not sent`]),
    ...(again.sent === 0 && again.deleted === 0 ? [] : [`${again.sent} files were sent again for nothing`]),
  ];
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
