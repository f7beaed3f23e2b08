/** The folder's way through a job: the scan runs ahead, batches and large files follow, all in one sliding window. */
import { condition, proxyActivities } from '@temporalio/workflow';
import type { JobTransferActivities } from '../activities/jobs.js';
import type { BatchResult, ScanAnswer } from '../core/job-steps.js';
import { BATCH, WALK } from './activity-options.js';
import type { JobContext } from './job-context.js';
import { grouped } from './job-details.js';
import { LargeFiles } from './job-large.js';
import { failTogether } from './together.js';

const { scanFolder } = proxyActivities<JobTransferActivities>(WALK);
const { uploadFiles } = proxyActivities<JobTransferActivities>(BATCH);

/** Small at first, so that the first file goes within a moment. */
const FIRST_SLICE = 2_000;
const SLICE = 20_000;

export class Sending {
  readonly large: LargeFiles;

  constructor(
    private readonly job: JobContext,
    public nextBatch: number,
    carried: { uploadId: string; file: number }[],
  ) {
    this.large = new LargeFiles(job, carried);
  }

  get done(): boolean {
    const { scan, plan } = this.job;
    if (!scan.done || plan.dryRun) return scan.done;
    return this.nextBatch > scan.batches && this.large.done;
  }

  /** Returns when everything known is sent, or when nothing more is to be given out (`done` says which). */
  async run(): Promise<void> {
    const { batchesAtOnce, largeAtOnce, dryRun } = this.job.plan;
    const batches = Array.from({ length: batchesAtOnce }, () => () => this.sendBatches());
    const large = Array.from({ length: largeAtOnce }, () => () => this.large.lane());
    await failTogether([() => this.scanAll(), ...(dryRun ? [] : [...batches, ...large])]);
  }

  private async scanAll(): Promise<void> {
    const { job } = this;
    while (!job.scan.done) {
      await condition(() => this.ahead < job.plan.scanAhead || job.full());
      if (job.full()) return;
      const answer = await this.scanSlice();
      if (answer !== undefined) Object.assign(job.scan, answer);
      job.onProgress();
    }
  }

  /** Batches that nobody has begun; a dry run begins none. */
  private get ahead(): number {
    return this.job.plan.dryRun ? 0 : this.job.scan.batches - this.nextBatch + 1;
  }

  private scanSlice(): Promise<ScanAnswer | undefined> {
    const { ref, plan, placement, control, fair, scan } = this.job;
    const budget = scan.pending === 0 ? FIRST_SLICE : SLICE;
    const summary =
      scan.pending === 0 ? 'scan the folder' : `scan on, ${grouped(scan.pending)} files to send`;
    return placement.run((place) =>
      control.untilPaused(() =>
        scanFolder.executeWithOptions({ ...WALK, ...fair, ...place, summary }, [
          { ...ref, budget, quiet: plan.quiet },
        ]),
      ),
    );
  }

  private async sendBatches(): Promise<void> {
    const { job } = this;
    for (;;) {
      await condition(() => this.nextBatch <= job.scan.batches || job.scan.done || job.full());
      await job.control.ready();
      if (job.full()) return;
      if (this.nextBatch <= job.scan.batches) await this.sendBatch(this.nextBatch++);
      else if (job.scan.done) return;
    }
  }

  private async sendBatch(batch: number): Promise<void> {
    for (;;) {
      const result = await this.tryBatch(batch);
      if (result === undefined) continue;
      const { tally } = this.job;
      tally.files += result.uploaded;
      tally.bytes += result.bytes;
      tally.failed += result.failed;
      if (result.finished) tally.left += result.left;
      this.job.onProgress();
      if (result.finished) return;
    }
  }

  private tryBatch(batch: number): Promise<BatchResult | undefined> {
    const { ref, placement, control, fair, scan } = this.job;
    const summary = `batch ${grouped(batch)} of ${scan.done ? '' : 'at least '}${grouped(scan.batches)}`;
    return placement.run((place) =>
      control.untilPaused(() =>
        uploadFiles.executeWithOptions({ ...BATCH, ...fair, ...place, summary }, [{ ...ref, batch }]),
      ),
    );
  }
}
