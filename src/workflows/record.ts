/** What the outside sees of an upload without asking its workflow: search attributes, memo, details, catalog row. */
import {
  CancellationScope,
  proxyActivities,
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
import { CATALOG } from './activity-options.js';

const { reportUpload } = proxyActivities<OrchestrationActivities>(CATALOG);
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

  /** Shows the state everywhere. Returns at once; `flush` waits for the catalog. */
  report(state: UploadState, details: string): void {
    if (state !== this.shown) upsertSearchAttributes([{ key: STATE, value: state }]);
    this.shown = state;
    setCurrentDetails(details);
    const writing = CancellationScope.nonCancellable(() =>
      reportUpload.executeWithOptions({ summary: `catalog: ${state}` }, [this.next(state)]),
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

  private next(state: UploadState): UploadReport {
    const { workflowId, runId, runStartTime } = workflowInfo();
    this.sequence += 1;
    return {
      id: this.input.id,
      workflowId,
      runId,
      runStartedAt: runStartTime.toISOString(),
      sequence: this.sequence,
      state,
      destination: this.input.destination,
      source: { kind: this.input.source.kind, label: sourceLabel(this.input.source) },
      ...(this.input.nodeId === undefined ? {} : { nodeId: this.input.nodeId }),
      ...this.facts,
    };
  }
}
