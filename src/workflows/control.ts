/** Pause, resume and being blocked: what a person does to a running workflow, apart from what the workflow does. */
import { CancellationScope, condition, isCancellation } from '@temporalio/workflow';
import { ERRORS, type FailureView } from '../core/errors.js';
import { MAX_PARKED_MS } from '../core/limits.js';
import { failureOf, isPassing, toApplicationFailure, view } from './failures.js';

export type Standing = 'running' | 'PAUSED' | 'BLOCKED';

export class Control {
  private blockedBy: FailureView | undefined;
  private ending = false;
  private readonly stoppable = new Set<CancellationScope>();

  /** `paused`: as an earlier run of the workflow was when it continued as new. */
  constructor(
    private readonly onChange: () => void,
    private paused = false,
  ) {}

  get standing(): Standing {
    if (this.blockedBy !== undefined) return 'BLOCKED';
    return this.paused ? 'PAUSED' : 'running';
  }

  get reason(): FailureView | undefined {
    return this.blockedBy;
  }

  pause(): void {
    if (this.paused || this.ending) return;
    this.paused = true;
    for (const scope of this.stoppable) scope.cancel();
    this.onChange();
  }

  resume(): void {
    if (this.standing === 'running') return;
    this.paused = false;
    this.blockedBy = undefined;
    this.onChange();
  }

  /** The bytes are there: nothing is left to pause. */
  end(): void {
    this.ending = true;
    this.paused = false;
    this.blockedBy = undefined;
  }

  /** Waits while paused or blocked, but not for ever. */
  async ready(): Promise<void> {
    if (this.standing === 'running') return;
    const resumed = await condition(() => this.standing === 'running', MAX_PARKED_MS);
    if (resumed) return;
    const why = this.blockedBy?.message ?? 'it was paused';
    throw toApplicationFailure(view('ParkedTooLong', `waited ${MAX_PARKED_MS / 3_600_000} hours: ${why}`));
  }

  /** Runs a step that `pause` stops; undefined when it was stopped without a result. */
  async untilPaused<T>(step: () => Promise<T>): Promise<T | undefined> {
    const scope = new CancellationScope();
    this.stoppable.add(scope);
    try {
      return await scope.run(step);
    } catch (error) {
      // Once it was told to stop nothing is retried, so a passing failure is no more than the stop. Whether it was told
      // is the scope's to say: by now it may have been resumed.
      const stopped = scope.consideredCancelled && !CancellationScope.current().consideredCancelled;
      if (stopped && (isCancellation(error) || isPassing(error))) return undefined;
      throw error;
    } finally {
      this.stoppable.delete(scope);
    }
  }

  /** Runs a step again after each failure that a person could repair, and said so by `resume`. */
  async parking<T>(step: () => Promise<T>, except: (error: unknown) => boolean = () => false): Promise<T> {
    for (;;) {
      await this.ready();
      try {
        return await step();
      } catch (error) {
        if (isCancellation(error) || except(error)) throw error;
        const failure = failureOf(error);
        if (ERRORS[failure.code].retry !== 'park') throw error;
        this.block(failure);
      }
    }
  }

  /** BLOCKED until `resume`, or until `healed` says that it mended by itself. */
  async blockedUntil(failure: FailureView, healed: () => Promise<void>): Promise<void> {
    this.block(failure);
    const probe = new CancellationScope();
    const mended = probe.run(healed).then(
      () => this.heal(failure),
      (error: unknown) => {
        if (!isCancellation(error)) throw error;
      },
    );
    try {
      await Promise.race([this.ready(), mended]);
    } finally {
      probe.cancel();
    }
  }

  /** What blocked it mended by itself; a pause that came meanwhile stands. */
  private heal(failure: FailureView): void {
    if (this.blockedBy !== failure) return;
    this.blockedBy = undefined;
    this.onChange();
  }

  private block(failure: FailureView): void {
    this.blockedBy = failure;
    this.onChange();
  }
}

/** `again: false` the first time, then `true`: to S3, an activity that is run again is no different from a retry. */
export function onceMore(begun: { again: boolean }): { again: boolean } {
  const { again } = begun;
  begun.again = true;
  return { again };
}
