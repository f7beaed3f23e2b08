/** What Ctrl-C means while an upload is watched: leaving it to the worker, and pressed again, cancelling it. */
import { LongshoreError } from '../../core/errors.js';

export interface InterruptActions {
  /** First Ctrl-C; `ms` until it detaches. Left out: the first one detaches at once. */
  warn?: ((ms: number) => void) | undefined;
  /** Second Ctrl-C within that time. The command goes on until the upload has ended; a third one detaches. */
  cancel?: (() => void) | undefined;
}

export const SECOND_PRESS_MS = 3_000;
const SIGNALS = ['SIGTERM', 'SIGHUP'] as const;

export class Detached extends LongshoreError {
  constructor() {
    super('Cancelled', 'detached', { op: 'watch' });
  }
}

export interface InterruptSource {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
}

/** From its making until `release`, signals do not end the process. */
export class Interrupts {
  private readonly detach = new AbortController();
  private actions: InterruptActions | undefined;
  private presses = 0;
  private timer: NodeJS.Timeout | undefined;
  private readonly onPress = (): void => this.press();
  private readonly onStop = (): void => this.leave();

  constructor(private readonly source: InterruptSource = process) {
    source.on('SIGINT', this.onPress);
    for (const name of SIGNALS) source.on(name, this.onStop);
  }

  /** Aborted with `Detached`. */
  get signal(): AbortSignal {
    return this.detach.signal;
  }

  /** Presses so far count: one that came before there was anything to act on is acted on now. */
  arm(actions: InterruptActions): void {
    this.actions = actions;
    if (this.presses > 0) this.act();
  }

  release(): void {
    clearTimeout(this.timer);
    this.source.off('SIGINT', this.onPress);
    for (const name of SIGNALS) this.source.off(name, this.onStop);
  }

  private press(): void {
    this.presses += 1;
    if (this.actions !== undefined) this.act();
    // Whoever presses again and again while nothing answers wants out.
    else if (this.presses > 1) this.leave();
  }

  private act(): void {
    const { warn, cancel } = this.actions ?? {};
    if (warn === undefined || this.presses > 2) this.leave();
    else if (this.presses === 1) {
      warn(SECOND_PRESS_MS);
      this.timer = setTimeout(() => this.leave(), SECOND_PRESS_MS);
    } else {
      clearTimeout(this.timer);
      cancel?.();
    }
  }

  private leave(): void {
    clearTimeout(this.timer);
    this.detach.abort(new Detached());
  }
}
