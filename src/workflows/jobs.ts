/** `uploadJob`: a folder's way into a bucket. */
import {
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  ContinueAsNew,
  isCancellation,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { JobOrchestrationActivities, JobTransferActivities } from '../activities/jobs.js';
import { LongshoreError, type FailureView } from '../core/errors.js';
import { rootQueue } from '../core/ids.js';
import type { FinishAnswer, RegroupAnswer } from '../core/job-steps.js';
import {
  approveSignal,
  JOB_STAGES,
  jobStatusQuery,
  type CarriedJob,
  type JobPhase,
  type JobPlan,
  type JobResult,
  type JobStage,
  type JobStatus,
  type UploadJobInput,
} from '../core/jobs.js';
import type { JobState } from '../core/states.js';
import { cancelSignal, pauseSignal, resumeSignal } from '../core/uploads.js';
import { validateJobInput } from '../core/validate-jobs.js';
import { CATALOG, CATALOG_LONG, CHANGED_FILE_PAUSE, WALK } from './activity-options.js';
import { closeAsCancelled } from './closing.js';
import { Control } from './control.js';
import { failureOf, isPassing, toApplicationFailure, view } from './failures.js';
import { isFull, type JobContext } from './job-context.js';
import { deleteGoneFiles } from './job-deletions.js';
import { describeJob } from './job-details.js';
import { JobRecord } from './job-record.js';
import { Sending } from './job-sending.js';
import { Placement } from './placement.js';

const { openJob, regroup, finishJob } = proxyActivities<JobOrchestrationActivities>(CATALOG_LONG);
const { setMonitor } = proxyActivities<JobOrchestrationActivities>(CATALOG);
const { checkBucket } = proxyActivities<JobTransferActivities>(WALK);

/** A retry of what had failed takes every failed file, however often it was tried. */
const ANY_ATTEMPTS = 1_000_000;

export async function uploadJob(input: UploadJobInput): Promise<JobResult> {
  refuseMalformed(input);
  const job = new UploadJob(input);
  setHandler(cancelSignal, () => job.cancel());
  setHandler(pauseSignal, () => job.pause());
  setHandler(resumeSignal, () => job.resume());
  setHandler(approveSignal, () => job.approve());
  setHandler(jobStatusQuery, () => job.status);
  return await job.run();
}

/** Not every run is started by our client, and what is thrown here as it comes would try the task for ever. */
function refuseMalformed(input: UploadJobInput): void {
  try {
    validateJobInput(input);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw toApplicationFailure(view(error instanceof LongshoreError ? error.code : 'InvalidInput', message));
  }
}

class UploadJob {
  private readonly control: Control;
  private readonly record = new JobRecord();
  private readonly root = CancellationScope.current();
  private readonly cancellable = new CancellationScope();
  private readonly carried: CarriedJob | undefined;
  private context: JobContext | undefined;
  private sending: Sending | undefined;
  private phase: JobPhase;
  private ended: JobState | undefined;
  private failure: FailureView | undefined;
  private stage: JobStage;
  private round: number;
  private approved: boolean;
  private compared: boolean;

  constructor(private readonly input: UploadJobInput) {
    const { carried } = input;
    this.carried = carried;
    this.control = new Control(() => this.report(), carried?.paused);
    this.phase = carried?.phase ?? (input.mode === 'retry' ? 'transfer' : 'scan');
    this.stage = carried?.stage ?? 'send';
    this.round = carried?.round ?? 1;
    this.approved = carried?.approved ?? false;
    this.compared = carried?.compared ?? false;
  }

  async run(): Promise<JobResult> {
    try {
      const job = await CancellationScope.nonCancellable(() => this.open());
      const sending = (this.sending = new Sending(
        job,
        this.carried?.nextBatch ?? 1,
        this.carried?.large ?? [],
      ));
      await this.cancellable.run(() => this.work(job, sending));
      // Everything is there: a cancel that comes now comes too late.
      return await CancellationScope.nonCancellable(() => this.finish(job));
    } catch (error) {
      if (error instanceof ContinueAsNew) throw error;
      return await CancellationScope.nonCancellable(() => this.unwind(error));
    }
  }

  // ── What a person does ─────────────────────────────────────────────────────────────────────────────────────────

  cancel(): void {
    this.cancellable.cancel();
  }

  pause(): void {
    this.control.pause();
    this.sending?.large.tell(pauseSignal);
  }

  resume(): void {
    this.control.resume();
    // What blocks a large file is its own upload's to say, and to be told.
    this.sending?.large.tell(resumeSignal);
  }

  approve(): void {
    this.approved = true;
  }

  get status(): JobStatus {
    const { standing, reason } = this.control;
    const running = this.context === undefined ? 'PENDING' : 'IN_PROGRESS';
    const state = this.ended ?? (standing === 'running' ? running : standing);
    const failure = this.failure ?? reason;
    return { state, phase: this.phase, ...(failure === undefined ? {} : { failure }) };
  }

  // ── The way of a run ───────────────────────────────────────────────────────────────────────────────────────────

  private async work(job: JobContext, sending: Sending): Promise<void> {
    if (this.input.mode === 'retry' && this.carried === undefined) {
      await this.regroup(job, sending, { failed: true, maxAttempts: ANY_ATTEMPTS });
    }
    const steps: Record<JobStage, () => Promise<void>> = {
      send: () => this.send(job, sending),
      delete: () => this.delete(job),
      again: () => this.sendAgain(job, sending),
      verify: () => this.verify(job, sending),
    };
    for (const stage of JOB_STAGES.slice(JOB_STAGES.indexOf(this.stage))) {
      this.stage = stage;
      await steps[stage]();
      if (job.plan.dryRun) return;
    }
  }

  private async open(): Promise<JobContext> {
    const { id, mode, definition, limits, monitored } = this.input;
    const { workflowId, runId, runStartTime } = workflowInfo();
    const given = {
      ...(definition === undefined ? {} : { definition }),
      ...(limits === undefined ? {} : { limits }),
      ...(monitored === undefined ? {} : { monitored }),
    };
    const plan =
      this.carried?.plan ??
      (await openJob.executeWithOptions({ ...CATALOG_LONG, summary: `open the job: ${mode}` }, [
        { id, mode, workflowId, runId, runStartedAt: runStartTime.toISOString(), ...given },
      ]));
    this.context = this.contextOf(plan);
    this.report();
    return this.context;
  }

  private contextOf(plan: JobPlan): JobContext {
    const { job, generation } = plan;
    const done = this.input.mode === 'retry';
    return {
      id: this.input.id,
      plan,
      ref: { job, generation },
      control: this.control,
      placement: new Placement(rootQueue(plan.root), this.control),
      fair: { priority: { fairnessKey: `job-${job}` } },
      scan: this.carried?.scan ?? { done, batches: 0, large: 0, gone: 0, pending: 0 },
      tally: this.carried?.tally ?? { files: 0, bytes: 0, failed: 0, left: 0 },
      full: () => isFull(workflowInfo(), plan),
      onProgress: () => this.onProgress(),
    };
  }

  private async send(job: JobContext, sending: Sending): Promise<void> {
    await sending.run();
    if (!sending.done) await this.handOver(job, sending);
  }

  private async delete(job: JobContext): Promise<void> {
    if (!job.plan.deletions) return;
    this.enter('delete');
    await deleteGoneFiles(job, () => this.approved);
  }

  /** Files that changed while they were sent get another try; those of a monitored job are left to its next check. */
  private async sendAgain(job: JobContext, sending: Sending): Promise<void> {
    for (;;) {
      await this.send(job, sending);
      if (job.plan.monitor || job.tally.left === 0) return;
      this.enter('transfer');
      await sleep(CHANGED_FILE_PAUSE);
      this.round += 1;
      // In the end those that are left fail.
      const maxAttempts = this.round > job.plan.maxAttempts ? 1 : job.plan.maxAttempts;
      const { pending } = await this.regroup(job, sending, { failed: false, maxAttempts });
      if (pending === 0) return;
    }
  }

  private async verify(job: JobContext, sending: Sending): Promise<void> {
    if (!job.plan.verify) return;
    if (!this.compared) {
      this.enter('verify');
      const options = { ...WALK, ...job.fair, summary: 'compare the bucket with the catalog' };
      const { again } = await job.placement.run((place) =>
        checkBucket.executeWithOptions({ ...options, ...place }, [job.ref]),
      );
      this.compared = true;
      if (again === 0) return;
      const maxAttempts = ANY_ATTEMPTS;
      await this.regroup(job, sending, { failed: false, maxAttempts });
    }
    this.enter('transfer');
    await this.sendAgain(job, sending);
  }

  private async regroup(
    job: JobContext,
    sending: Sending,
    which: { failed: boolean; maxAttempts: number },
  ): Promise<RegroupAnswer> {
    const summary = which.failed ? 'what had failed, once more' : 'what was left, once more';
    const answer = await regroup.executeWithOptions({ ...CATALOG_LONG, summary }, [{ ...job.ref, ...which }]);
    job.scan.batches = Math.max(job.scan.batches, answer.batches);
    job.scan.pending = Math.max(job.scan.pending, answer.pending);
    job.tally.left = 0;
    sending.large.reopen();
    return answer;
  }

  private async handOver(job: JobContext, sending: Sending): Promise<never> {
    await CancellationScope.nonCancellable(() => this.record.flush());
    if (this.cancellable.consideredCancelled) throw new CancelledFailure('cancelled before it continued');
    const { plan, scan, tally } = job;
    const { stage, round, approved, compared, phase } = this;
    return await continueAsNew<typeof uploadJob>({
      ...this.input,
      carried: {
        ...{ plan, scan, tally, stage, round, approved, compared, phase },
        nextBatch: sending.nextBatch,
        large: sending.large.begun,
        paused: this.control.standing === 'PAUSED',
      },
    });
  }

  // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

  private async finish(job: JobContext): Promise<JobResult> {
    this.control.end();
    if (job.plan.monitor && !job.plan.dryRun && this.input.monitored !== true) {
      await setMonitor.executeWithOptions({ ...CATALOG, summary: 'look at the folder from now on' }, [
        job.ref,
      ]);
    }
    const { state, counts } = await this.close(job, 'COMPLETED');
    return { ...counts, state, generation: job.plan.generation };
  }

  /** Stops what was begun, says why, and throws. */
  private async unwind(error: unknown): Promise<JobResult> {
    this.control.end();
    const { context } = this;
    // Once it was told to stop nothing is retried, so a passing failure is no more than the stop.
    const stopped = this.cancellable.consideredCancelled && isPassing(error);
    const cancelled = isCancellation(error) || stopped;
    if (!cancelled) this.failure = failureOf(error);
    try {
      await this.sending?.large.stop();
      if (context !== undefined) await this.close(context, cancelled ? 'CANCELLED' : 'FAILED');
    } catch (later) {
      throw toApplicationFailure(this.failure ?? failureOf(later));
    }
    if (cancelled) return await closeAsCancelled(this.root);
    this.ended = 'FAILED';
    this.report();
    throw toApplicationFailure(this.failure ?? failureOf(error));
  }

  private async close(job: JobContext, state: JobState): Promise<FinishAnswer> {
    await this.record.flush();
    const failure = this.failure === undefined ? {} : { failure: this.failure };
    const summary = `catalog: ${state}`;
    const answer = await finishJob.executeWithOptions({ ...CATALOG_LONG, summary }, [
      { ...job.ref, state, ...failure },
    ]);
    if (state === 'COMPLETED') this.phase = 'done';
    this.ended = answer.state;
    this.report();
    return answer;
  }

  // ── What the outside sees ──────────────────────────────────────────────────────────────────────────────────────

  private enter(phase: JobPhase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    this.report();
  }

  private onProgress(): void {
    if (this.phase === 'scan' && this.context?.scan.done === true && !this.context.plan.dryRun) {
      this.enter('transfer');
    }
    this.record.details(this.details());
  }

  private report(): void {
    this.record.report(this.status, this.details(), this.context?.ref);
  }

  private details(): string {
    const { context } = this;
    return context === undefined
      ? `**${this.status.state}**`
      : describeJob(this.status, context.scan, context.tally);
  }
}
