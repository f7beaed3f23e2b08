/** Progress as text. Pure, but for the clock of `Speed`. */
import type { UploadState } from '../../core/states.js';
import type { UploadProgress } from '../../core/uploads.js';
import { bytes, bytesOf, duration, grouped, plural } from './text.js';

const SPEED_OVER_MS = 5_000;

/** Bytes a second over the last seconds: short enough to follow a change, long enough not to jump. */
export class Speed {
  private samples: { at: number; bytes: number }[] = [];

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** undefined until there are two figures to compare. */
  next(done: number): number | undefined {
    const at = this.now();
    this.samples.push({ at, bytes: done });
    // One sample older than the span stays, so that the span is always covered.
    while (this.samples.length > 2 && at - (this.samples[1]?.at ?? at) >= SPEED_OVER_MS) this.samples.shift();
    const first = this.samples[0];
    if (first === undefined || at === first.at) return undefined;
    return ((done - first.bytes) / (at - first.at)) * 1000;
  }
}

const WORDS: Partial<Record<UploadState, string>> = {
  PENDING: 'waiting to start',
  PAUSED: 'paused',
  BLOCKED: 'blocked',
};

/** `62%  636.0 of 1,024.0 MiB  312.4 MiB/s  79 of 128 parts  2 s left`. */
export function progressLine(state: UploadState, progress: UploadProgress, rate: number | undefined): string {
  const share = shareOf(progress);
  const head = share === undefined ? [] : [`${Math.floor(share * 100)}%`.padStart(4)];
  return [...head, ...figures(state, progress, rate)].join('  ');
}

const MIN_BAR = 10;
const MAX_BAR = 30;

/** The same with a bar as wide as there is room, in at most `width` columns. */
export function bar(
  state: UploadState,
  progress: UploadProgress,
  rate: number | undefined,
  width: number,
): string {
  const share = shareOf(progress);
  const parts = figures(state, progress, rate);
  if (share === undefined) return fit(parts, width);
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  // Less is said before the bar becomes too short to see.
  while (parts.length > 1 && percent.length + MIN_BAR + 4 + parts.join('  ').length > width) parts.pop();
  const room = Math.min(MAX_BAR, width - percent.length - 4 - parts.join('  ').length - 1);
  if (room < MIN_BAR) return fit([percent, ...parts], width);
  const full = Math.floor(share * room);
  return `${percent} [${'#'.repeat(full)}${'-'.repeat(room - full)}] ${parts.join('  ')}`;
}

function fit(parts: readonly string[], width: number): string {
  return parts.join('  ').slice(0, Math.max(0, width));
}

/** undefined while the total is unknown. Never 1 before the end. */
function shareOf({ bytesDone, bytesTotal }: UploadProgress): number | undefined {
  if (bytesTotal === null) return undefined;
  return bytesTotal === 0 ? 0 : Math.min(1, bytesDone / bytesTotal);
}

function figures(state: UploadState, progress: UploadProgress, rate: number | undefined): string[] {
  const { bytesDone, bytesTotal, partsDone, partsTotal } = progress;
  const word = WORDS[state];
  if (state === 'PENDING' && bytesTotal === null) return [word ?? state];
  const figures = [bytesOf(bytesDone, bytesTotal)];
  if (word !== undefined) return [word, ...figures];
  if (bytesTotal !== null && bytesDone >= bytesTotal) return [...figures, 'completing'];
  if (rate !== undefined && rate > 0) figures.push(`${bytes(Math.round(rate))}/s`);
  if (partsTotal === null) figures.push(plural(partsDone, 'part'));
  else figures.push(`${grouped(partsDone)} of ${plural(partsTotal, 'part')}`);
  if (bytesTotal !== null && rate !== undefined && rate > 0) {
    figures.push(`${duration((bytesTotal - bytesDone) / rate)} left`);
  }
  return figures;
}
