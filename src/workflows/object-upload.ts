/** What every object upload has in common, wherever its bytes come from: its state, its end, and how it is undone. */
import {
  CancellationScope,
  isCancellation,
  proxyActivities,
  uuid4,
  workflowInfo,
  type ActivityOptions,
} from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import { ERRORS, type FailureView } from '../core/errors.js';
import { isTerminal, type UploadState } from '../core/states.js';
import type { UploadObjectInput, UploadResult, UploadStatus } from '../core/uploads.js';
import type {
  CreatedUpload,
  CreateInput,
  Inspection,
  StoredObject,
  TruthToken,
  VerifiedObject,
} from '../core/upload-steps.js';
import { CONTROL, UNDO } from './activity-options.js';
import { closeAsCancelled } from './closing.js';
import { Control } from './control.js';
import { describeUpload } from './details.js';
import { failureOf, isPassing, toApplicationFailure, withLeftover } from './failures.js';
import { Placement, queueOf } from './placement.js';
import { Progress } from './progress.js';
import { Record } from './record.js';

const transfer = proxyActivities<TransferActivities>(CONTROL);
const undo = proxyActivities<TransferActivities>(UNDO);

/** An object that is there. `verified`: it was looked at already. */
export interface Brought {
  stored: StoredObject;
  inspection: Inspection;
  verified?: VerifiedObject;
}

export abstract class ObjectUpload {
  readonly control = new Control(() => this.onStanding());
  readonly progress = new Progress();
  protected readonly record: Record;
  protected readonly placement: Placement;
  protected phase: UploadState = 'PENDING';
  protected generations = 0;
  protected created: CreatedUpload | undefined;
  /** For its short calls to S3. */
  protected readonly haste: ActivityOptions = {};
  /** Set once an object with this token may be at the key. */
  protected mayExist: { token: TruthToken; inspection: Inspection } | undefined;
  private readonly root = CancellationScope.current();
  private readonly cancellable = new CancellationScope();
  private finishing = false;

  constructor(protected readonly input: UploadObjectInput) {
    this.record = new Record(input);
    this.placement = new Placement(queueOf(input.source), this.control);
  }

  /** Brings the bytes to S3. Cancelled when the upload is. */
  protected abstract bring(): Promise<Brought>;

  async run(): Promise<UploadResult> {
    try {
      const brought = await this.cancellable.run(() => this.bring());
      // The object is there: a cancel that comes now comes too late.
      return await CancellationScope.nonCancellable(() => this.finish(brought));
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

  protected async inspect(): Promise<Inspection> {
    this.report('PENDING');
    return await this.placement.run((options) =>
      transfer.inspectSource.executeWithOptions(
        { ...options, ...this.haste, summary: 'look at the source' },
        [this.input],
      ),
    );
  }

  /** Begins afresh, with a new token and none of the old parts, whenever what was at work is lost. */
  protected async freshly<T>(inspection: Inspection, send: () => Promise<T>): Promise<T> {
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

  /** Begins a multipart upload, and notes it. */
  protected async create(inspection: Inspection): Promise<CreatedUpload> {
    const lost = this.lost;
    const token = this.nextToken();
    // The row names bucket and key before S3 knows of the upload, so that the sweep finds one whose id was lost.
    await this.record.flush();
    const created = await this.placement.run((options) =>
      transfer.createMultipartUpload.executeWithOptions(
        { ...options, ...this.haste, summary: 'begin a multipart upload' },
        [{ upload: this.input, inspection, token, ...lost }],
      ),
    );
    this.begun(created);
    return created;
  }

  /** What a further multipart upload has to know of the one before. */
  protected get lost(): Pick<CreateInput, 'lost'> {
    const completing = this.mayExist !== undefined;
    return this.created === undefined ? {} : { lost: { before: this.created.before, completing } };
  }

  protected begun(created: CreatedUpload): void {
    this.created = created;
    this.record.note({ s3UploadId: created.s3UploadId, generations: this.generations });
  }

  private async finish({ stored, inspection, verified: seen }: Brought): Promise<UploadResult> {
    this.finishing = true;
    this.control.end();
    const verified = seen ?? (await this.verify(stored, inspection));
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

  private async verify(stored: StoredObject, inspection: Inspection): Promise<VerifiedObject> {
    return await this.control.parking(() =>
      transfer.verifyObject.executeWithOptions(
        { taskQueue: 'transfer', ...this.haste, summary: 'verify the object' },
        [{ upload: this.input, inspection, stored }],
      ),
    );
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
    return stored === null ? undefined : await this.finish({ stored: this.vouched(stored), inspection });
  }

  /** An object that was only found, with as much as we can vouch for. */
  protected vouched(found: StoredObject): StoredObject {
    return found;
  }

  private async fail(error: unknown, left?: FailureView): Promise<never> {
    const failure = left === undefined ? failureOf(error) : withLeftover(failureOf(error), left);
    this.record.note({ failure });
    this.record.remember({ progress: this.progress.snapshot(), failure });
    this.report(failure.code === 'SessionExpired' ? 'EXPIRED' : 'FAILED');
    await this.record.flush();
    throw toApplicationFailure(failure);
  }

  /** Takes back what was begun, and lets nothing more begin. */
  protected async abort(): Promise<void> {
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

  protected nextToken(): TruthToken {
    this.generations += 1;
    return { uploadId: workflowInfo().workflowId, nonce: uuid4() };
  }

  private onStanding(): void {
    this.record.remember({ progress: this.progress.snapshot(), failure: this.control.reason ?? null });
    this.report(this.phase);
  }

  protected report(phase: UploadState): void {
    this.show(phase);
    this.record.report(this.state);
  }

  /** Without a word to the catalog. */
  protected show(phase: UploadState): void {
    this.phase = phase;
    this.record.show(this.state, describeUpload(this.input, this.status, this.progress.snapshot()));
  }
}
