/** `sweepAbandonedUploads`: what nobody finishes is ended, and what nobody reported is closed. */
import {
  ContinueAsNew,
  continueAsNew,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  workflowInfo,
} from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.js';
import {
  MAX_TROUBLES,
  type SweepInput,
  type SweepResult,
  type SweepScope,
  type SweepState,
} from '../core/maintenance.js';
import { CATALOG_LONG, SWEEP } from './activity-options.js';
import { failureOf, toApplicationFailure } from './failures.js';

const sweep = proxyActivities<MaintenanceActivities>(SWEEP);
const catalog = proxyActivities<MaintenanceActivities>({ ...CATALOG_LONG, taskQueue: 'transfer' });

export async function sweepAbandonedUploads(input: SweepInput): Promise<SweepResult> {
  try {
    return await new Sweep(input).run();
  } catch (error) {
    if (isCancellation(error) || error instanceof ContinueAsNew) throw error;
    throw toApplicationFailure(failureOf(error));
  }
}

class Sweep {
  private readonly state: SweepState;
  private readonly scope: SweepScope;
  private taken = 0;

  constructor(private readonly input: SweepInput) {
    const { olderThanMs, dryRun, carried } = input;
    this.state = carried ?? {
      cutoff: new Date(Date.now() - olderThanMs).toISOString(),
      stage: 'rows',
      after: null,
      ...{ strangers: 0, young: 0, failed: [], failures: 0 },
    };
    this.scope = { sweep: workflowInfo().workflowId, cutoff: this.state.cutoff, olderThanMs, dryRun };
  }

  async run(): Promise<SweepResult> {
    const { state, scope, input } = this;
    if (state.stage === 'rows') await this.silent('rows', sweep.sweepRows, 'jobs');
    if (state.stage === 'jobs') await this.silent('jobs', sweep.sweepJobs, 'buckets');
    if (state.stage === 'buckets') await this.buckets();
    this.show('remove what expired');
    const purged = input.dryRun ? NOTHING : await catalog.purgeExpired();
    const counts = await catalog.countFindings({ sweep: scope.sweep });
    const { cutoff, strangers, young, failed: failures, failures: troubles } = state;
    return { dryRun: input.dryRun, cutoff, ...counts, strangers, young, purged, failures, troubles };
  }

  /** Page by page until there is none; then on to the next stage. */
  private async silent(
    what: 'rows' | 'jobs',
    page: typeof sweep.sweepRows,
    next: SweepState['stage'],
  ): Promise<void> {
    const { bucket } = this.input;
    this.show(`look at ${what} that say that they go on`);
    await this.enduring(what, async () => {
      for (let more = true; more;) {
        const { after } = this.state;
        const ask = { ...this.scope, after, ...(bucket === undefined ? {} : { bucket }) };
        const last = await page.executeWithOptions({ ...SWEEP, summary: what }, [ask]);
        this.state.after = last;
        more = last !== null;
        if (more) await this.step();
      }
    });
    this.state.stage = next;
    this.state.after = null;
    await this.step();
  }

  private async buckets(): Promise<void> {
    const { bucket } = this.input;
    if (this.state.bucket !== undefined) await this.inBucket(this.state.bucket);
    if (bucket !== undefined) {
      if (this.state.after === null) await this.inBucket(bucket);
      this.state.stage = 'purge';
      return;
    }
    for (;;) {
      const { after } = this.state;
      const names = await catalog.sweepBuckets({ after });
      for (const name of names) await this.inBucket(name);
      if (names.length === 0) break;
    }
    this.state.stage = 'purge';
  }

  /** A bucket that refuses, or does not answer, keeps nobody from the others. */
  private async inBucket(bucket: string): Promise<void> {
    const { state } = this;
    state.bucket = bucket;
    this.show(`look through ${bucket}`);
    await this.enduring(bucket, async () => {
      for (let more = true; more;) {
        const { marker } = state;
        const ask = { ...this.scope, bucket, ...(marker === undefined ? {} : { marker }) };
        const page = await sweep.sweepBucket.executeWithOptions({ ...SWEEP, summary: bucket }, [ask]);
        state.strangers += page.strangers;
        state.young += page.young;
        more = page.next !== undefined;
        if (page.next === undefined) delete state.marker;
        else state.marker = page.next;
        if (more) await this.step();
      }
    });
    delete state.bucket;
    delete state.marker;
    state.after = bucket;
    await this.step();
  }

  private async enduring(what: string, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (isCancellation(error) || error instanceof ContinueAsNew) throw error;
      const { code, message } = failureOf(error);
      this.state.failures += 1;
      if (this.state.failed.length < MAX_TROUBLES) this.state.failed.push({ what, code, message });
    }
  }

  /** Keeps a run's history short, however many buckets there are. */
  private async step(): Promise<void> {
    this.taken += 1;
    if (this.taken < this.input.steps && !workflowInfo().continueAsNewSuggested) return;
    await continueAsNew<typeof sweepAbandonedUploads>({ ...this.input, carried: this.state });
  }

  private show(what: string): void {
    const { cutoff, strangers, failures } = this.state;
    const lines = [
      `**${this.input.dryRun ? 'DRY RUN' : 'SWEEP'}** of what is older than ${cutoff}: ${what}`,
      `${strangers} multipart uploads of others left alone, ${failures} failures`,
    ];
    setCurrentDetails(lines.join('\n\n'));
  }
}

const NOTHING = { secrets: 0, answers: 0, events: 0, findings: 0 };
