/** A session that takes chunks: parts of one multipart upload at a time. */
import { CancellationScope, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { SessionActivities, SessionCatalogActivities } from '../activities/sessions.js';
import type { BegunSession } from '../core/sessions.js';
import type { Inspection, TruthToken } from '../core/upload-steps.js';
import { CATALOG, CONTROL } from './activity-options.js';
import { onceMore } from './control.js';
import { toApplicationFailure, view } from './failures.js';
import type { Brought } from './object-upload.js';
import { ClientUpload } from './sessions.js';

const transfer = proxyActivities<SessionActivities>(CONTROL);
const catalog = proxyActivities<SessionCatalogActivities>(CATALOG);

export class ChunkedUpload extends ClientUpload {
  /** Asked for, and not answered: an attempt may have come to write it down. */
  private asking: { token: TruthToken; sequence: number } | undefined;

  protected async bring(): Promise<Brought> {
    const first = await this.begin();
    const { inspection } = first;
    let begun: BegunSession | undefined = first;
    return await this.freshly(inspection, async () => {
      const now = begun ?? (await this.begin(inspection));
      begun = undefined;
      return await this.takeChunks(await this.opening(now));
    });
  }

  /** One step, for somebody waits. `inspection`: as an earlier multipart upload had it. */
  private async begin(inspection?: Inspection): Promise<BegunSession> {
    this.opened = undefined;
    const { lost } = this;
    const token = this.nextToken();
    await this.record.flush();
    this.record.note({ generations: this.generations });
    this.show(this.phase);
    const known = inspection === undefined ? {} : { inspection };
    const begun = await this.placement.run((options) => {
      const report = this.record.next(this.phase, 2);
      this.asking = { token, sequence: report.sequence + 1 };
      return transfer.beginSession.executeWithOptions(
        { ...options, ...this.haste, summary: 'begin the session' },
        [{ ...{ upload: this.input, token, ...lost, ...known }, runGeneration: this.generations, report }],
      );
    });
    this.asking = undefined;
    this.begun(begun);
    this.expect(begun.inspection);
    return begun;
  }

  protected override async abort(): Promise<void> {
    if (this.asking !== undefined) await this.find(this.asking);
    await super.abort();
  }

  /** A step that was cancelled, or failed, between two attempts has no answer, but may have begun something. */
  private async find(asking: { token: TruthToken; sequence: number }): Promise<void> {
    const { runId } = workflowInfo();
    const summary = 'was one begun?';
    const s3UploadId = await CancellationScope.nonCancellable(() =>
      catalog.findBegun.executeWithOptions({ summary }, [{ id: this.input.id, runId, ...asking }]),
    );
    if (s3UploadId !== null) this.begun({ s3UploadId, token: asking.token, before: 'unknown' });
  }

  /** Its multipart upload is begun; where the catalog was away then, the session is not open yet. */
  private async opening(begun: BegunSession): Promise<Required<BegunSession>> {
    const { inspection, token, s3UploadId, generation } = begun;
    if (generation !== undefined) {
      this.letIn(inspection, token, { generation, s3UploadId });
      return { ...begun, generation };
    }
    const opened = await this.open(inspection, token, s3UploadId);
    const now = { ...begun, generation: opened.generation, s3UploadId: opened.s3UploadId ?? s3UploadId };
    this.begun(now);
    return now;
  }

  private async takeChunks({ inspection, generation, ...created }: Required<BegunSession>): Promise<Brought> {
    const begun = { again: false };
    for (;;) {
      await this.wait(() => this.lostGeneration >= generation);
      const [asked] = this.asked;
      if (asked === undefined) {
        throw toApplicationFailure(view('NoSuchUpload', 'the multipart upload of the session is gone'));
      }
      this.mayExist = { token: created.token, inspection };
      const answer = await this.placement.run((options) =>
        transfer.completeSession.executeWithOptions(
          { ...options, ...this.haste, summary: 'complete the session' },
          [
            {
              ...{ upload: this.input, inspection, created, generation, ask: asked.ask },
              ...{ turn: ++this.turns, ...onceMore(begun) },
            },
          ],
        ),
      );
      if ('stored' in answer) {
        const { stored, parts, verified } = answer;
        return {
          ...{ stored: this.taken(stored, parts), inspection },
          ...(verified === undefined ? {} : { verified }),
        };
      }
      // Nothing was completed, and the client is alive.
      this.mayExist = undefined;
      this.answer(asked, answer);
    }
  }
}
