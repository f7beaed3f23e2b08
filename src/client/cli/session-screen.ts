/** What a person, or a program, sees of a session while this command sends to it. */
import type { UploadState } from '../../core/states.js';
import type { UploadProgress } from '../../core/uploads.js';
import type { Io } from './io.js';
import { bar, progressLine, Speed } from './progress-line.js';
import { screenOf, type Drawing, type Screen } from './screen.js';

export interface Sent {
  id: string;
  state: UploadState;
  progress: UploadProgress;
}

export type SessionScreen = Screen<[Sent]>;

/** The same lines and events as those of an upload that a worker sends. */
export function createSessionScreen(io: Io, options: { quiet?: boolean | undefined }): SessionScreen {
  return screenOf(io, options, new SessionDrawing());
}

class SessionDrawing implements Drawing<[Sent]> {
  private readonly speed = new Speed();

  bar(width: number, { state, progress }: Sent): string {
    return bar(state, progress, this.speed.next(progress.bytesDone), width);
  }

  line({ state, progress }: Sent): string {
    return progressLine(state, progress, this.speed.next(progress.bytesDone));
  }

  event({ id, state, progress }: Sent) {
    const { bytesDone, bytesTotal, bytesSent, partsDone, partsTotal } = progress;
    const rate = this.speed.next(bytesDone);
    const bytesPerSecond = rate === undefined ? null : Math.round(rate);
    const figures = { id, state, bytesDone, bytesTotal, bytesSent, partsDone, partsTotal };
    return { facts: { ...figures, unclaimed: null, error: null }, rates: { bytesPerSecond } };
  }
}

const SHOW_EVERY_MS = 500;

/** Figures of what is being sent, shown twice a second until `end`. */
export class Tally {
  readonly progress: UploadProgress;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly screen: SessionScreen,
    private readonly id: string,
    start: Omit<UploadProgress, 'bytesSent'>,
  ) {
    this.progress = { ...start, bytesSent: 0 };
    this.show();
    this.timer = setInterval(() => this.show(), SHOW_EVERY_MS);
  }

  sent({ bytes, sent }: { bytes: number; sent: number }): void {
    this.progress.bytesDone += bytes;
    this.progress.partsDone += 1;
    this.progress.bytesSent += sent;
  }

  end(): void {
    clearInterval(this.timer);
    this.screen.end();
  }

  private show(): void {
    this.screen.progress({ id: this.id, state: 'UPLOADING', progress: this.progress });
  }
}
