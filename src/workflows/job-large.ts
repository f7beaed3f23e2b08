/**
 * Large files: each is an upload of its own, a child that outlives the run which started it. Nothing of it is lost when
 * the run continues as a new one: the next run follows those that are on their way by their ids.
 */
import {
  CancellationScope,
  ChildWorkflowCancellationType,
  condition,
  isCancellation,
  ParentClosePolicy,
  proxyActivities,
  sleep,
  startChild,
  TerminatedFailure,
  type ChildWorkflowHandle,
} from '@temporalio/workflow';
import {
  defineSearchAttributeKey,
  WorkflowExecutionAlreadyStartedError,
  type SignalDefinition,
} from '@temporalio/common';
import type { JobOrchestrationActivities } from '../activities/jobs.js';
import { largeUploadId, QUEUES, uploadWorkflowId } from '../core/ids.js';
import type { LargeFile, UploadOutcome } from '../core/job-steps.js';
import { SEARCH_ATTRIBUTES } from '../core/states.js';
import { pauseSignal, UPLOAD_WORKFLOW, type UploadObjectInput, type UploadResult } from '../core/uploads.js';
import { CATALOG, CHANGED_FILE_PAUSE, FOLLOW } from './activity-options.js';
import { cancelUpload, signalUpload } from './external.js';
import { failureOf, view } from './failures.js';
import type { JobContext } from './job-context.js';

const { nextLarge, settleLarge } = proxyActivities<JobOrchestrationActivities>(CATALOG);
const { followUpload } = proxyActivities<JobOrchestrationActivities>(FOLLOW);

/** Files that are asked for at once. */
const PAGE = 20;
const KEYS = {
  kind: defineSearchAttributeKey(SEARCH_ATTRIBUTES.kind, 'KEYWORD'),
  bucket: defineSearchAttributeKey(SEARCH_ATTRIBUTES.bucket, 'KEYWORD'),
  state: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'),
};

type UploadWorkflow = (input: UploadObjectInput) => Promise<UploadResult>;

interface Underway {
  uploadId: string;
  file: number;
}

export class LargeFiles {
  /** By file; from the moment that a lane takes it until its row is settled. */
  private readonly underway = new Map<number, Underway>();
  private readonly carried: Underway[];
  private queue: LargeFile[] = [];
  private fetching: Promise<void> | undefined;
  private cursor = 0;
  private taken = 0;
  /** Rows that changed keep their old numbers, so once the scan has ended the list is gone through from its start. */
  private finalPass = false;
  private exhausted = false;

  constructor(
    private readonly job: JobContext,
    carried: Underway[],
  ) {
    this.carried = [...carried];
    for (const each of carried) this.underway.set(each.file, each);
  }

  get done(): boolean {
    return this.exhausted && this.underway.size === 0;
  }

  /** What the next run has to follow. */
  get begun(): Underway[] {
    return [...this.underway.values()];
  }

  /** There may be more: rows were made pending again. */
  reopen(): void {
    this.cursor = 0;
    this.finalPass = false;
    this.exhausted = false;
  }

  /** Sends one after the other, until there are no more or none is to be begun. */
  async lane(): Promise<void> {
    for (let left = this.carried.shift(); left !== undefined; left = this.carried.shift()) {
      const outcome = await this.orFull(this.follow(left.uploadId));
      if (outcome === undefined) return;
      await this.settle(left, outcome);
    }
    for (let file = await this.next(); file !== undefined; file = await this.next()) {
      if (!(await this.send(file))) return;
    }
  }

  tell(signal: SignalDefinition): void {
    for (const { uploadId } of this.begun) signalUpload(uploadId, signal);
  }

  /** Cancels those that no lane waits for any more, and waits until they have ended. */
  async stop(): Promise<void> {
    await Promise.all(
      this.begun.map(async (each) => {
        cancelUpload(each.uploadId);
        const outcome = await followUpload.executeWithOptions({ ...FOLLOW, summary: 'until it has ended' }, [
          { uploadId: each.uploadId },
        ]);
        await this.settle(each, outcome);
      }),
    );
  }

  private async next(): Promise<(LargeFile & Underway) | undefined> {
    for (;;) {
      await this.job.control.ready();
      if (this.job.full()) return undefined;
      const file = this.queue.shift();
      if (file !== undefined) {
        const uploadId = largeUploadId(this.job.id, this.job.ref.generation, file.file);
        this.underway.set(file.file, { file: file.file, uploadId });
        return { ...file, uploadId };
      }
      if (this.exhausted) return undefined;
      await (this.fetching ??= this.fetch().finally(() => (this.fetching = undefined)));
    }
  }

  private async fetch(): Promise<void> {
    const { ref, scan, fair } = this.job;
    await condition(() => scan.large > this.taken || scan.done || this.job.full());
    if (this.job.full()) return;
    if (scan.done && !this.finalPass) {
      this.finalPass = true;
      this.cursor = 0;
    }
    // Pending until settled, so the answer holds those that are on their way at this moment too.
    const busy = new Set(this.underway.keys());
    const files = await nextLarge.executeWithOptions({ ...CATALOG, ...fair, summary: 'which large files?' }, [
      { ...ref, after: this.cursor, limit: PAGE },
    ]);
    this.cursor = files.at(-1)?.file ?? this.cursor;
    if (files.length > 0) this.taken += files.length;
    else if (this.finalPass) this.exhausted = true;
    else this.taken = scan.large;
    for (const file of files) if (!busy.has(file.file)) this.queue.push(file);
  }

  /** False when it is left to the next run. */
  private async send(file: LargeFile & Underway): Promise<boolean> {
    const { monitor, maxAttempts } = this.job.plan;
    for (let tries = 1; ; tries++) {
      const outcome = await this.upload(file);
      if (outcome === undefined) return false;
      if (outcome.failure?.code !== 'SourceChanged' || monitor || tries >= maxAttempts) {
        await this.settle(file, outcome);
        return true;
      }
      await sleep(CHANGED_FILE_PAUSE);
    }
  }

  private async upload(file: LargeFile & Underway): Promise<UploadOutcome | undefined> {
    try {
      // Only a child that has started outlives the run.
      const child = await this.start(file);
      if (this.job.control.standing === 'PAUSED') signalUpload(file.uploadId, pauseSignal);
      return await this.orFull(this.ended(child, file));
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError)
        return await this.orFull(this.follow(file.uploadId));
      return this.outcomeOf(error, file);
    }
  }

  private start(file: LargeFile & Underway): Promise<ChildWorkflowHandle<UploadWorkflow>> {
    const { id, plan, fair } = this.job;
    return startChild<UploadWorkflow>(UPLOAD_WORKFLOW, {
      args: [this.inputOf(file)],
      workflowId: uploadWorkflowId(file.uploadId),
      taskQueue: QUEUES.orchestration,
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      parentClosePolicy: ParentClosePolicy.ABANDON,
      cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
      typedSearchAttributes: [
        { key: KEYS.kind, value: 'upload' },
        { key: KEYS.bucket, value: plan.bucket },
        { key: KEYS.state, value: 'PENDING' },
      ],
      staticSummary: `large file ${file.file} of job ${id}`,
      ...fair,
    });
  }

  private async ended(child: ChildWorkflowHandle<UploadWorkflow>, file: Underway): Promise<UploadOutcome> {
    try {
      return { result: pick(await child.result()) };
    } catch (error) {
      return this.outcomeOf(error, file);
    }
  }

  /** undefined when the run is to continue as a new one first. A cancelled upload is waited for all the same. */
  private async orFull<T>(outcome: Promise<T>): Promise<T | undefined> {
    const full = CancellationScope.nonCancellable(() => condition(() => this.job.full()));
    return await Promise.race([outcome, full.then(() => undefined)]);
  }

  private inputOf(file: LargeFile & Underway): UploadObjectInput {
    const { plan } = this.job;
    return {
      id: file.uploadId,
      source: { kind: 'file', root: plan.root, path: file.path },
      destination: { bucket: plan.bucket, key: file.key },
      options: plan.objects,
      job: plan.job,
      ...(plan.apiKey === undefined ? {} : { apiKey: plan.apiKey }),
    };
  }

  private outcomeOf(error: unknown, { uploadId }: Underway): UploadOutcome {
    if (isCancellation(error)) return this.cancelled(uploadId);
    const terminated = error instanceof Error && error.cause instanceof TerminatedFailure;
    return {
      failure: terminated ? view('Terminated', `the upload ${uploadId} was terminated`) : failureOf(error),
    };
  }

  /** By the job, or by somebody who meant this file alone. */
  private cancelled(uploadId: string): UploadOutcome {
    if (CancellationScope.current().consideredCancelled) return { cancelled: true };
    return { failure: view('Cancelled', `the upload ${uploadId} was cancelled`) };
  }

  /** An upload that is no child of this run. */
  private async follow(uploadId: string): Promise<UploadOutcome> {
    let ended = false;
    void CancellationScope.current().cancelRequested.catch(() => {
      if (!ended) cancelUpload(uploadId);
    });
    const outcome = await CancellationScope.nonCancellable(() =>
      followUpload.executeWithOptions({ ...FOLLOW, summary: 'an upload of an earlier run' }, [{ uploadId }]),
    );
    ended = true;
    return outcome.cancelled === true ? this.cancelled(uploadId) : outcome;
  }

  private async settle({ file, uploadId }: Underway, outcome: UploadOutcome): Promise<void> {
    const { tally, ref } = this.job;
    const summary = `large file ${file}: ${outcome.result === undefined ? 'not sent' : 'sent'}`;
    await CancellationScope.nonCancellable(() =>
      settleLarge.executeWithOptions({ ...CATALOG, summary }, [{ ...ref, file, uploadId, ...outcome }]),
    );
    this.underway.delete(file);
    if (outcome.result !== undefined) {
      tally.files += 1;
      tally.bytes += outcome.result.size;
    } else if (outcome.failure !== undefined) {
      tally.failed += 1;
    }
    this.job.onProgress();
  }
}

function pick({
  size,
  etag,
  versionId,
  checksum,
  bytesSent,
}: UploadResult): NonNullable<UploadOutcome['result']> {
  return {
    ...{ size, etag, bytesSent },
    ...(versionId === undefined ? {} : { versionId }),
    ...(checksum === undefined ? {} : { checksum }),
  };
}
