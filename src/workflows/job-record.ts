/** What the outside sees of a job without asking its workflow: search attributes, memo, details, catalog row. */
import {
  CancellationScope,
  proxyActivities,
  setCurrentDetails,
  upsertMemo,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { JobOrchestrationActivities } from '../activities/jobs.js';
import type { JobRef } from '../core/job-steps.js';
import type { JobMemo, JobStatus } from '../core/jobs.js';
import { isTerminal, SEARCH_ATTRIBUTES } from '../core/states.js';
import { CATALOG } from './activity-options.js';

const { reportJob } = proxyActivities<JobOrchestrationActivities>(CATALOG);
const STATE = defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD');

export class JobRecord {
  private shown: Partial<JobStatus> = {};
  private waiting: JobStatus | undefined;
  private writing: Promise<void> | undefined;
  private failed: { error: unknown } | undefined;

  /** Shows the state everywhere. Returns at once; `flush` waits for the catalog. */
  report(status: JobStatus, details: string, ref: JobRef | undefined): void {
    setCurrentDetails(details);
    if (status.state !== this.shown.state) upsertSearchAttributes([{ key: STATE, value: status.state }]);
    const { state, phase, failure } = this.shown;
    if (state === status.state && phase === status.phase && failure === status.failure) return;
    this.shown = status;
    const memo: JobMemo = { phase: status.phase, failure: status.failure ?? null };
    upsertMemo({ ...memo });
    // How it ends is written with its counts, by `finishJob`.
    if (ref !== undefined && !isTerminal(status.state)) this.write(status, ref);
  }

  details(text: string): void {
    setCurrentDetails(text);
  }

  async flush(): Promise<void> {
    await this.writing;
    if (this.failed !== undefined) throw this.failed.error;
  }

  /** One write after the other, so that none overtakes a later one; what is outdated meanwhile is not written. */
  private write(status: JobStatus, ref: JobRef): void {
    this.waiting = status;
    this.writing ??= CancellationScope.nonCancellable(() => this.drain(ref));
  }

  private async drain(ref: JobRef): Promise<void> {
    try {
      for (let next = this.waiting; next !== undefined; next = this.waiting) {
        this.waiting = undefined;
        const summary = `catalog: ${next.state}, ${next.phase}`;
        await reportJob.executeWithOptions({ ...CATALOG, summary }, [{ ...ref, ...next }]);
      }
    } catch (error) {
      this.failed ??= { error };
    } finally {
      this.writing = undefined;
    }
  }
}
