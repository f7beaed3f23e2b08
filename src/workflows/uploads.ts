/** `uploadObject`: one object's way into a bucket. */
import { proxyActivities, setHandler } from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import { LongshoreError } from '../core/errors.js';
import { planFacts } from '../core/part-plan.js';
import { validateUpload } from '../core/validate.js';
import {
  cancelSignal,
  pauseSignal,
  progressQuery,
  resumeSignal,
  stateQuery,
  type UploadObjectInput,
  type UploadResult,
} from '../core/uploads.js';
import type {
  CreatedUpload,
  Inspection,
  PartsPlan,
  StoredObject,
  WindowResult,
} from '../core/upload-steps.js';
import { CONTROL, moving } from './activity-options.js';
import { onceMore } from './control.js';
import { toApplicationFailure, view } from './failures.js';
import { ObjectUpload, type Brought } from './object-upload.js';
import { sendParts } from './parts.js';
import { ChunkedUpload } from './session-chunks.js';
import { WholeUpload } from './session-whole.js';

const transfer = proxyActivities<TransferActivities>(CONTROL);

export async function uploadObject(input: UploadObjectInput): Promise<UploadResult> {
  refuseMalformed(input);
  const upload = uploadOf(input);
  setHandler(cancelSignal, () => upload.cancel());
  setHandler(pauseSignal, () => upload.control.pause());
  setHandler(resumeSignal, () => upload.control.resume());
  setHandler(progressQuery, () => upload.progress.snapshot());
  setHandler(stateQuery, () => upload.status);
  return await upload.run();
}

function uploadOf(input: UploadObjectInput): ObjectUpload {
  const { source } = input;
  if (source.kind !== 'client') return new SourceUpload(input);
  return source.mode === 'whole' ? new WholeUpload(input, source) : new ChunkedUpload(input, source);
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

/** Its bytes lie somewhere, and workers fetch them. */
class SourceUpload extends ObjectUpload {
  protected async bring(): Promise<Brought> {
    const inspection = await this.inspect();
    return { stored: await this.transfer(inspection), inspection };
  }

  private async transfer(inspection: Inspection): Promise<StoredObject> {
    const { plan, options } = inspection;
    const { encryption } = options;
    if (this.input.nodeId !== undefined && encryption !== undefined) this.record.note({ encryption });
    if (plan.kind !== 'parts') {
      this.progress.expect(plan.size, 1);
      this.record.note({ size: plan.size, parts: 1 });
      return await this.freshly(inspection, () => this.putWhole(inspection));
    }
    this.progress.expect(plan.parts.size, plan.parts.count);
    this.record.note(planFacts(plan.parts));
    return await this.freshly(inspection, () => this.multipart(inspection, plan));
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

  private async multipart(inspection: Inspection, plan: PartsPlan): Promise<StoredObject> {
    const created = await this.create(inspection);
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
}
