/** `uploadObject`: one object's way into a bucket. */
import {
  CancellationScope,
  isCancellation,
  proxyActivities,
  setHandler,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import { ERRORS, LongshoreError, type FailureView } from '../core/errors.js';
import { validateUpload } from '../core/validate.js';
import { isTerminal, type UploadState } from '../core/states.js';
import {
  cancelSignal,
  pauseSignal,
  progressQuery,
  resumeSignal,
  stateQuery,
  type UploadObjectInput,
  type UploadResult,
  type UploadStatus,
} from '../core/uploads.js';
import type {
  CreatedUpload,
  Inspection,
  PartsPlan,
  StoredObject,
  TruthToken,
  WindowResult,
} from '../core/upload-steps.js';
import { CONTROL, moving, UNDO } from './activity-options.js';
import { closeAsCancelled } from './closing.js';
import { Control, onceMore } from './control.js';
import { describeUpload } from './details.js';
import { failureOf, isPassing, toApplicationFailure, view, withLeftover } from './failures.js';
import { sendParts } from './parts.js';
import { Placement, queueOf } from './placement.js';
import { Progress } from './progress.js';
import { Record } from './record.js';

const transfer = proxyActivities<TransferActivities>(CONTROL);
const undo = proxyActivities<TransferActivities>(UNDO);

export async function uploadObject(input: UploadObjectInput): Promise<UploadResult> {
  refuseMalformed(input);
  const upload = new ObjectUpload(input);
  setHandler(cancelSignal, () => upload.cancel());
  setHandler(pauseSignal, () => upload.control.pause());
  setHandler(resumeSignal, () => upload.control.resume());
  setHandler(progressQuery, () => upload.progress.snapshot());
  setHandler(stateQuery, () => upload.status);
  return await upload.run();
}

/** Not every run is started by our client, and what is thrown here as it comes would try the task for ever. */
function refuseMalformed(input: UploadObjectInput): void {
  try {
    validateUpload(input);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw toApplicationFailure(view(error instanceof LongshoreError ? error.code : 'InvalidInput', message));
  }
}

class ObjectUpload {
  readonly control = new Control(() => this.onStanding());
  readonly progress = new Progress();
  private readonly record: Record;
  private readonly placement: Placement;
  private readonly root = CancellationScope.current();
  private readonly cancellable = new CancellationScope();
  private phase: UploadState = 'PENDING';
  private generations = 0;
  private finishing = false;
  private created: CreatedUpload | undefined;
  /** Set once an object with this token may be at the key. */
  private mayExist: { token: TruthToken; inspection: Inspection } | undefined;

  constructor(private readonly input: UploadObjectInput) {
    this.record = new Record(input);
    this.placement = new Placement(queueOf(input.source), this.control);
  }

  async run(): Promise<UploadResult> {
    try {
      const { stored, inspection } = await this.cancellable.run(() => this.transfer());
      // The object is there: a cancel that comes now comes too late.
      return await CancellationScope.nonCancellable(() => this.finish(stored, inspection));
    } catch (error) {
      return await CancellationScope.nonCancellable(() => this.unwind(error));
    }
  }

  cancel(): void {
    this.cancellable.cancel();
  }

  get status(): UploadStatus {
    const failure = this.control.reason;
    return failure === undefined ? { state: this.state } : { state: this.state, failure };
  }

  private get state(): UploadState {
    const { standing } = this.control;
    return standing === 'running' || isTerminal(this.phase) ? this.phase : standing;
  }

  private async transfer(): Promise<{ stored: StoredObject; inspection: Inspection }> {
    this.report('PENDING');
    const inspection = await this.placement.run((options) =>
      transfer.inspectSource.executeWithOptions({ ...options, summary: 'look at the source' }, [this.input]),
    );
    const { plan } = inspection;
    if (plan.kind !== 'parts') {
      this.progress.expect(plan.size, 1);
      this.record.note({ size: plan.size, parts: 1 });
      return { stored: await this.freshly(inspection, () => this.putWhole(inspection)), inspection };
    }
    this.progress.expect(plan.parts.size, plan.parts.count);
    this.record.note({ size: plan.parts.size, partSize: plan.parts.partSize });
    if (plan.parts.count !== null) this.record.note({ parts: plan.parts.count });
    return { stored: await this.freshly(inspection, () => this.multipart(inspection, plan)), inspection };
  }

  private async putWhole(inspection: Inspection): Promise<StoredObject> {
    const token = this.nextToken();
    await this.record.flush();
    this.report('UPLOADING');
    this.mayExist = { token, inspection };
    const { plan } = inspection;
    const summary = plan.kind === 'copy' ? 'copy the object' : 'put the object';
    const options = moving(plan.kind === 'parts' ? null : plan.size);
    const begun = { again: false };
    const stored = await this.placement.run((place) =>
      transfer.putObject.executeWithOptions({ ...options, ...place, summary }, [
        { upload: this.input, inspection, token, ...onceMore(begun) },
      ]),
    );
    this.progress.recordWhole(stored.size, stored.bytesSent);
    return stored;
  }

  /** Begins afresh, with a new token and none of the old parts, whenever what was at work is lost. */
  private async freshly(inspection: Inspection, send: () => Promise<StoredObject>): Promise<StoredObject> {
    for (;;) {
      try {
        return await send();
      } catch (error) {
        if (isCancellation(error)) throw error;
        const restart = ERRORS[failureOf(error).code].retry === 'restart';
        if (!restart || this.generations >= inspection.maxGenerations) throw error;
        await this.abort();
        this.progress.startOver();
      }
    }
  }

  private async multipart(inspection: Inspection, plan: PartsPlan): Promise<StoredObject> {
    const lost = this.created;
    const token = this.nextToken();
    // The row names bucket and key before S3 knows of the upload, so that the sweep finds one whose id was lost.
    await this.record.flush();
    const created = await this.placement.run((options) =>
      transfer.createMultipartUpload.executeWithOptions({ ...options, summary: 'begin a multipart upload' }, [
        {
          upload: this.input,
          inspection,
          token,
          ...(lost === undefined
            ? {}
            : { lost: { before: lost.before, completing: this.mayExist !== undefined } }),
        },
      ]),
    );
    this.created = created;
    this.record.note({ s3UploadId: created.s3UploadId, generations: this.generations });
    this.report('UPLOADING');
    const { input: upload, control, placement } = this;
    const results = await sendParts({
      ...{ upload, inspection, plan, created, control, placement },
      onResult: (window, result) => {
        this.progress.record(window, result);
        this.record.remember({ progress: this.progress.snapshot() });
      },
    });
    return await this.complete(inspection, created, plan, results);
  }

  private async complete(
    inspection: Inspection,
    created: CreatedUpload,
    plan: PartsPlan,
    results: WindowResult[],
  ): Promise<StoredObject> {
    const size = results.at(-1)?.ended?.size ?? plan.parts.size ?? 0;
    this.mayExist = { token: created.token, inspection };
    const begun = { again: false };
    const ledgers = results.map((result) => result.ledger);
    return await this.placement.run((options) =>
      transfer.completeMultipartUpload.executeWithOptions(
        { ...options, summary: 'complete the multipart upload' },
        [{ upload: this.input, inspection, created, size, ledgers, ...onceMore(begun) }],
      ),
    );
  }

  private async finish(stored: StoredObject, inspection: Inspection): Promise<UploadResult> {
    this.finishing = true;
    this.control.end();
    const verified = await this.control.parking(() =>
      transfer.verifyObject.executeWithOptions({ taskQueue: 'transfer', summary: 'verify the object' }, [
        { upload: this.input, inspection, stored },
      ]),
    );
    const { bytesSent, partsTotal } = this.progress.snapshot();
    const result: UploadResult = {
      ...this.input.destination,
      ...verified,
      ...(stored.crc32 === undefined ? {} : { checksum: `crc32:${stored.crc32}` }),
      bytesSent,
      parts: partsTotal ?? 1,
      generations: this.generations,
    };
    this.record.note({ result, size: result.size, parts: result.parts });
    this.report('COMPLETED');
    await this.record.flush();
    return result;
  }

  /** Undoes what was begun, says why, and throws; unless a cancelled object turns out to be there, whole. */
  private async unwind(error: unknown): Promise<UploadResult> {
    this.control.end();
    const left = await this.abort().then(() => undefined, failureOf);
    // Once it was told to stop nothing is retried, so a passing failure is no more than the stop.
    const stopped = this.cancellable.consideredCancelled && isPassing(error);
    const cancelled = !this.finishing && (isCancellation(error) || stopped);
    if (!cancelled) return await this.fail(error, left);
    // What it leaves costs money, so a cancel that could not undo everything is a failure that says so.
    if (left !== undefined) return await this.fail(toApplicationFailure(left), left);
    const result = await this.settle().catch((later: unknown) => this.fail(later));
    if (result !== undefined) return result;
    this.report('CANCELLED');
    await this.record.flush();
    return await closeAsCancelled(this.root);
  }

  /** The result, if an object that was under way when the cancel came is there, whole. */
  private async settle(): Promise<UploadResult | undefined> {
    if (this.mayExist === undefined) return undefined;
    const { token, inspection } = this.mayExist;
    const stored = await undo.settleObject.executeWithOptions({ summary: 'is it there after all?' }, [
      { upload: this.input, inspection, token },
    ]);
    return stored === null ? undefined : await this.finish(stored, inspection);
  }

  private async fail(error: unknown, left?: FailureView): Promise<never> {
    const failure = left === undefined ? failureOf(error) : withLeftover(failureOf(error), left);
    this.record.note({ failure });
    this.record.remember({ progress: this.progress.snapshot(), failure });
    this.report('FAILED');
    await this.record.flush();
    throw toApplicationFailure(failure);
  }

  private async abort(): Promise<void> {
    if (this.created === undefined) return;
    const { s3UploadId } = this.created;
    const { destination } = this.input;
    const summary = 'abort the multipart upload';
    await CancellationScope.nonCancellable(() =>
      this.control.parking(() =>
        undo.abortMultipartUpload.executeWithOptions({ summary }, [{ destination, s3UploadId }]),
      ),
    );
  }

  private nextToken(): TruthToken {
    this.generations += 1;
    return { uploadId: workflowInfo().workflowId, nonce: uuid4() };
  }

  private onStanding(): void {
    this.record.remember({ progress: this.progress.snapshot(), failure: this.control.reason ?? null });
    this.report(this.phase);
  }

  private report(phase: UploadState): void {
    this.phase = phase;
    this.record.report(this.state, describeUpload(this.input, this.status, this.progress.snapshot()));
  }
}
