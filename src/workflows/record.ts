/** What the outside sees of an upload without asking its workflow: search attributes, memo, details, catalog row. */
import {
  CancellationScope,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { OrchestrationActivities } from '../activities/catalog.js';
import type { FailureView } from '../core/errors.js';
import { SEARCH_ATTRIBUTES, type UploadState } from '../core/states.js';
import { sourceLabel, type UploadMemo, type UploadObjectInput, type UploadReport } from '../core/uploads.js';
import { CATALOG, CATALOG_HERE } from './activity-options.js';

const anywhere = proxyActivities<OrchestrationActivities>(CATALOG);
const here = proxyLocalActivities<OrchestrationActivities>(CATALOG_HERE);
const STATE = defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD');

export type Facts = Partial<
  Pick<
    UploadReport,
    's3UploadId' | 'size' | 'partSize' | 'parts' | 'generations' | 'result' | 'failure' | 'encryption'
  >
>;

export class Record {
  private readonly facts: Facts = {};
  private readonly pending = new Set<Promise<void>>();
  private sequence = 0;
  private shown: UploadState = 'PENDING';
  private failed: { error: unknown } | undefined;

  constructor(private readonly input: UploadObjectInput) {}

  note(facts: Facts): void {
    Object.assign(this.facts, facts);
  }

  /** To Temporal's own lists and pages. */
  show(state: UploadState, details: string): void {
    if (state !== this.shown) upsertSearchAttributes([{ key: STATE, value: state }]);
    this.shown = state;
    setCurrentDetails(details);
  }

  /** To the catalog. Returns at once; `flush` waits for it. */
  report(state: UploadState): void {
    const writing = CancellationScope.nonCancellable(() =>
      this.write({ summary: `catalog: ${state}` }, this.next(state)),
    ).catch((error: unknown) => {
      this.failed ??= { error };
    });
    this.pending.add(writing);
    void writing.finally(() => this.pending.delete(writing));
  }

  remember(memo: Pick<UploadMemo, 'progress'> & { failure?: FailureView | null }): void {
    upsertMemo({ ...memo });
  }

  async flush(): Promise<void> {
    await Promise.all(this.pending);
    if (this.failed !== undefined) throw this.failed.error;
  }

  private async write(options: { summary: string }, report: UploadReport): Promise<void> {
    // A session's client waits, and the session has little else to do.
    const written = report.source.kind === 'client' && (await this.writeHere(options, report));
    if (!written) await anywhere.reportUpload.executeWithOptions(options, [report]);
  }

  /** False when that is left to an activity, which waits for PostgreSQL as long as it takes, or says what is wrong. */
  private async writeHere(options: { summary: string }, report: UploadReport): Promise<boolean> {
    return await here.reportUpload.executeWithOptions(options, [report]).then(
      () => true,
      () => false,
    );
  }

  /** A report for an activity that writes it, and as many after it as it needs, by itself. */
  next(state: UploadState, numbers = 1): UploadReport {
    const { workflowId, runId, runStartTime } = workflowInfo();
    const sequence = this.sequence + 1;
    this.sequence += numbers;
    return {
      id: this.input.id,
      workflowId,
      runId,
      runStartedAt: runStartTime.toISOString(),
      sequence,
      state,
      destination: this.input.destination,
      source: { kind: this.input.source.kind, label: sourceLabel(this.input.source) },
      ...(this.input.nodeId === undefined ? {} : { nodeId: this.input.nodeId }),
      ...this.facts,
    };
  }
}
