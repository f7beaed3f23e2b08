/** A job's progress as text and as events. Pure, but for the clock of `Speed`. */
import type { FailureView } from '../../core/errors.js';
import type { JobCounts, JobPhase } from '../../core/jobs.js';
import { KiB } from '../../core/limits.js';
import type { JobState } from '../../core/states.js';
import { jsonError } from './failure.js';
import { Speed } from './progress-line.js';
import type { Drawing } from './screen.js';
import { bytes, bytesOf, duration, grouped, plural } from './text.js';

/** One look at a job under way. */
export interface JobLook {
  id: string;
  state: JobState;
  phase: JobPhase | undefined;
  failure: FailureView | undefined;
  /** The task queue on which something lies that no worker takes. */
  unclaimed: string | undefined;
  /** undefined until the catalog was asked. */
  counts: JobCounts | undefined;
}

interface Rates {
  bytes: number | undefined;
  files: number | undefined;
  work: number | undefined;
}

/** A file costs a request whatever its size: as much as this many bytes. */
const FILE_COSTS = 64 * KiB;

const WORDS: Partial<Record<JobState, string>> = {
  PENDING: 'waiting to start',
  PAUSED: 'paused',
  BLOCKED: 'blocked',
};

const PHASES: Partial<Record<JobPhase, string>> = {
  scan: 'scanning',
  delete: 'deleting',
  verify: 'verifying',
};

export class JobDrawing implements Drawing<[JobLook]> {
  private readonly bytes: Speed;
  private readonly files: Speed;
  private readonly work: Speed;

  constructor(now?: () => number) {
    [this.bytes, this.files, this.work] = [new Speed(now), new Speed(now), new Speed(now)];
  }

  bar(width: number, look: JobLook): string {
    const parts = figures(look, this.next(look));
    // Less is said before a line becomes too long to be drawn again.
    while (parts.length > 1 && parts.join('  ').length > width) parts.pop();
    return parts.join('  ').slice(0, Math.max(0, width));
  }

  line(look: JobLook): string {
    return figures(look, this.next(look)).join('  ');
  }

  event(look: JobLook) {
    const { id, state, phase, counts, failure, unclaimed } = look;
    const rates = this.next(look);
    const rounded = (rate: number | undefined): number | null =>
      rate === undefined ? null : Math.round(rate);
    return {
      facts: {
        ...{ id, state, phase: phase ?? null, ...(counts === undefined ? {} : countsJson(counts)) },
        ...{ unclaimed: unclaimed ?? null, error: failure === undefined ? null : jsonError(failure) },
      },
      rates: { bytesPerSecond: rounded(rates.bytes), filesPerSecond: rounded(rates.files) },
    };
  }

  private next({ counts }: JobLook): Rates {
    if (counts === undefined) return { bytes: undefined, files: undefined, work: undefined };
    const { sentBytes, sentFiles, failedFiles } = counts;
    return {
      bytes: this.bytes.next(sentBytes),
      files: this.files.next(sentFiles),
      work: this.work.next(sentBytes + (sentFiles + failedFiles) * FILE_COSTS),
    };
  }
}

/** The figures of a job as every JSON shape spells them; documented in docs/cli.md. */
export function countsJson(counts: JobCounts) {
  return {
    files: counts.totalFiles,
    bytes: counts.totalBytes,
    completed: counts.completedFiles,
    completedBytes: counts.completedBytes,
    sent: counts.sentFiles,
    sentBytes: counts.sentBytes,
    unchanged: counts.unchangedFiles,
    skipped: counts.skippedFiles,
    failed: counts.failedFiles,
    deleted: counts.deletedFiles,
  };
}

function figures(look: JobLook, rates: Rates): string[] {
  const { state, phase, counts } = look;
  const word = WORDS[state] ?? (phase === undefined ? undefined : PHASES[phase]);
  const head = word === undefined ? [] : [word];
  if (counts === undefined || (counts.totalFiles === 0 && phase !== 'done'))
    return head.length === 0 ? [state] : head;
  const { totalFiles, totalBytes, completedFiles, completedBytes, failedFiles, sentFiles } = counts;
  // What is known of the whole grows while the folder is looked through.
  const share = phase === 'scan' ? [] : [`${Math.floor(shareOf(counts) * 100)}%`.padStart(4)];
  const parts = [
    ...share,
    ...head,
    `${grouped(completedFiles)} of ${plural(totalFiles, 'file')}`,
    bytesOf(completedBytes, totalBytes),
  ];
  const moving = state === 'IN_PROGRESS' && sentFiles > 0;
  if (moving && rates.bytes !== undefined && rates.bytes > 0)
    parts.push(`${bytes(Math.round(rates.bytes))}/s`);
  if (moving && rates.files !== undefined && rates.files >= 1) parts.push(`${grouped(rates.files)} files/s`);
  if (failedFiles > 0) parts.push(`${grouped(failedFiles)} failed`);
  const left = leftOf(counts);
  if (moving && phase !== 'scan' && left > 0 && rates.work !== undefined && rates.work > 0) {
    parts.push(`${duration(left / rates.work)} left`);
  }
  return parts;
}

function workOf({ totalFiles, totalBytes }: JobCounts): number {
  return totalBytes + totalFiles * FILE_COSTS;
}

function leftOf(counts: JobCounts): number {
  const { completedFiles, completedBytes, failedFiles } = counts;
  return Math.max(0, workOf(counts) - completedBytes - (completedFiles + failedFiles) * FILE_COSTS);
}

function shareOf(counts: JobCounts): number {
  const whole = workOf(counts);
  return whole === 0 ? 1 : 1 - leftOf(counts) / whole;
}
