/**
 * One attempt of an activity that moves bytes: it tells Temporal that it lives, learns that it should stop, and
 * notices when it was stopped itself (SIGSTOP, a suspended machine) for so long that another attempt is at work.
 */
import { Context } from '@temporalio/activity';
import {
  ActivityCancelledError,
  ActivityNotFoundError,
  ActivityPausedError,
  ActivityResetError,
} from '@temporalio/client';
import { LongshoreError } from '../core/errors.js';

/** More often than a worker's heartbeats are sent on, so that each carries fresh figures. */
const BEAT_MS = 400;
/** What is in flight may end within this time once the attempt is told to stop. */
const GRACE_MS = 1_500;
/** As long as Temporal may take to answer for an attempt. */
const CONFIRM_MS = 5_000;
/** Answers to the heartbeat of an attempt that is current. */
const ASKED = [ActivityCancelledError, ActivityPausedError, ActivityResetError];

export class Attempt {
  private readonly context = Context.current();
  private readonly stopping = new AbortController();
  private readonly aborting = new AbortController();
  private readonly fencing = new AbortController();
  private readonly beats: NodeJS.Timeout;
  private lastBeat = performance.now();
  private graceTimer: NodeJS.Timeout | undefined;
  private readonly onCancel = (): void => this.stop(this.context.cancellationSignal.reason as Error);

  /** `details` is asked for at each beat. */
  constructor(private readonly details: () => unknown = () => undefined) {
    this.beats = setInterval(() => this.beat(), BEAT_MS);
    const { cancellationSignal } = this.context;
    if (cancellationSignal.aborted) this.onCancel();
    else cancellationSignal.addEventListener('abort', this.onCancel, { once: true });
  }

  /** Attempts before this one. */
  get previous(): number {
    return this.context.info.attempt - 1;
  }

  /** What the last attempt said in its last heartbeat. */
  get lastDetails(): unknown {
    return this.context.info.heartbeatDetails as unknown;
  }

  /** Begin nothing new once this is aborted. */
  get stopSignal(): AbortSignal {
    return this.stopping.signal;
  }

  /** Give up what is in flight once this is aborted: a little after `stopSignal`. */
  get signal(): AbortSignal {
    return this.aborting.signal;
  }

  /** Aborted by the fence alone: for a call whose answer must not be missed, because it names what it began. */
  get fenceSignal(): AbortSignal {
    return this.fencing.signal;
  }

  /** An operator paused this very activity: it must end by throwing, for its result would count as done. */
  get pausedByOperator(): boolean {
    return this.context.cancellationDetails?.paused === true;
  }

  /** Throws once this attempt may have been replaced; asked before anything that leaves a trace. */
  fence(): void {
    const { heartbeatTimeoutMs } = this.context.info;
    const silent = performance.now() - this.lastBeat;
    if (heartbeatTimeoutMs !== undefined && silent > heartbeatTimeoutMs) {
      throw this.fenced(`this attempt stood still for ${Math.round(silent)} ms`);
    }
    this.aborting.signal.throwIfAborted();
  }

  /**
   * Throws unless Temporal itself still counts on this attempt. A worker that stood still may find a task in its
   * sockets that was given to another long ago, and to such an attempt no time has passed. Asked before a write that
   * could replace what someone else wrote since, or leave what nobody would clear away. One round trip.
   */
  async confirm(): Promise<void> {
    const { client, info } = this.context;
    try {
      await client.withDeadline(Date.now() + CONFIRM_MS, () =>
        client.activity.heartbeat(info.taskToken, this.details()),
      );
    } catch (error) {
      if (error instanceof ActivityNotFoundError) throw this.fenced('Temporal counts on another attempt');
      // What was asked of the current attempt is told to it by its own heartbeats.
      if (!ASKED.some((kind) => error instanceof kind)) {
        throw new LongshoreError(
          'TemporalUnavailable',
          'Temporal did not confirm that this attempt is current',
          {
            op: info.activityType,
            cause: error,
          },
        );
      }
    }
    this.fence();
  }

  end(): void {
    clearInterval(this.beats);
    clearTimeout(this.graceTimer);
    this.context.cancellationSignal.removeEventListener('abort', this.onCancel);
  }

  private fenced(message: string): LongshoreError {
    const error = new LongshoreError('AttemptFenced', message, { op: this.context.info.activityType });
    this.aborting.abort(error);
    this.fencing.abort(error);
    return error;
  }

  private beat(): void {
    try {
      this.fence();
      this.lastBeat = performance.now();
      this.context.heartbeat(this.details());
    } catch (error) {
      // Thrown in a timer it would end the whole worker.
      this.stopping.abort(error);
      this.aborting.abort(error);
    }
  }

  private stop(reason: Error): void {
    this.stopping.abort(reason);
    this.graceTimer = setTimeout(() => this.aborting.abort(reason), GRACE_MS);
  }
}

/** Runs `body` as an attempt that ends when it does. */
export async function attempting<T>(
  body: (attempt: Attempt) => Promise<T>,
  details?: () => unknown,
): Promise<T> {
  const attempt = new Attempt(details);
  try {
    return await body(attempt);
  } finally {
    attempt.end();
  }
}
