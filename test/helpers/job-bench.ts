/** A bench for the workflows of jobs: activities of the test's own, on workers of its own. Folder, catalog and S3 are figures. */
import { randomUUID } from 'node:crypto';
import type { WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import type { OrchestrationActivities } from '../../src/activities/catalog.js';
import type { JobOrchestrationActivities, JobTransferActivities } from '../../src/activities/jobs.js';
import type { TransferActivities } from '../../src/activities/uploads.js';
import { jobWorkflowId, largeUploadId, rootQueue } from '../../src/core/ids.js';
import type { BatchResult, FinishInput, JobReport, LargeOutcome } from '../../src/core/job-steps.js';
import type { JobCounts, JobDefinition, JobPlan, JobResult, UploadJobInput } from '../../src/core/jobs.js';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import { Bench, type BenchServer } from './upload-bench.js';

export type JobActivities = JobOrchestrationActivities &
  JobTransferActivities &
  OrchestrationActivities &
  TransferActivities;
type UploadJob = (input: UploadJobInput) => Promise<JobResult>;
export type JobHandle = WorkflowHandleWithFirstExecutionRunId<UploadJob>;

export const ROOT = 'data';

export const DEFINITION: JobDefinition = {
  source: { root: ROOT, path: 'photos' },
  sourceFolder: '/data/photos',
  destination: { bucket: 'to-bucket', prefix: 'in/' },
  filter: {},
  objects: {},
  monitor: { enabled: false },
  compare: 'mtime',
  verify: false,
};

export const COUNTS: JobCounts = {
  totalFiles: 1,
  totalBytes: 1,
  completedFiles: 1,
  completedBytes: 1,
  failedFiles: 0,
  skippedFiles: 0,
  sentFiles: 1,
  sentBytes: 1,
  unchangedFiles: 0,
  deletedFiles: 0,
};

export class JobBench {
  readonly reports: JobReport[] = [];
  readonly ends: FinishInput[] = [];
  readonly settled: LargeOutcome[] = [];
  readonly sent: number[] = [];
  readonly calls: string[] = [];
  /** Batches that the scan finds, and how many with each slice. */
  batches = 4;
  perSlice = 2;
  /** Large files by number. */
  large: number[] = [];
  plan: Partial<JobPlan> = {};
  activities: Partial<JobActivities> = {};
  /** Served or not. */
  root = true;

  constructor(
    readonly env: BenchServer,
    readonly id: string = randomUUID(),
  ) {}

  get input(): UploadJobInput {
    return { id: this.id, mode: 'first', definition: DEFINITION };
  }

  uploadId(file: number): string {
    return largeUploadId(this.id, 1, file);
  }

  result(change: Partial<BatchResult> = {}): BatchResult {
    return { uploaded: 500, failed: 0, bytes: 500, left: 0, finished: true, ...change };
  }

  private whole(): JobActivities {
    let slices = 0;
    const upload = new Bench(this.env, this.id);
    upload.parts = 1;
    return {
      ...upload.activities(),
      openJob: () => Promise.resolve(this.planned()),
      reportJob: (report) => {
        this.reports.push(report);
        return Promise.resolve();
      },
      scanFolder: () => {
        slices += 1;
        const batches = Math.min(this.batches, slices * this.perSlice);
        const pending = batches * 500;
        return Promise.resolve({
          ...{ batches, pending, large: this.large.length, gone: 0 },
          done: batches === this.batches,
        });
      },
      uploadFiles: ({ batch }) => {
        this.sent.push(batch);
        return Promise.resolve(this.result());
      },
      nextLarge: ({ after, limit }) => {
        const open = this.large.filter(
          (file) => file > after && !this.settled.some((one) => one.file === file),
        );
        return Promise.resolve(
          open.slice(0, limit).map((file) => ({ file, path: `photos/${file}`, key: `in/${file}`, size: 9 })),
        );
      },
      settleLarge: (outcome) => {
        this.settled.push(outcome);
        return Promise.resolve();
      },
      followUpload: async ({ uploadId }) => {
        const { size, etag, bytesSent } = (await this.env.client.workflow
          .getHandle(`upload/${uploadId}`)
          .result()) as { size: number; etag: string; bytesSent: number };
        return { result: { size, etag, bytesSent } };
      },
      regroup: () => Promise.resolve({ batches: this.batches, pending: 0 }),
      lookAtDeletions: () => Promise.resolve({ gone: 0, share: 0, tooMany: false }),
      deleteGone: () => Promise.resolve({ deleted: 0, done: true }),
      checkBucket: () => Promise.resolve({ again: 0 }),
      checkFolder: () => Promise.resolve({ changed: false, over: false }),
      setMonitor: () => Promise.resolve(),
      removeMonitor: () => Promise.resolve(),
      startSync: () => Promise.resolve(),
      finishJob: (end) => {
        this.ends.push(end);
        return Promise.resolve({ state: end.state, counts: COUNTS });
      },
      ...this.activities,
    };
  }

  planned(): JobPlan {
    return {
      ...{ job: 7, generation: 1, root: ROOT, bucket: 'to-bucket', quiet: 0, objects: {} },
      ...{ monitor: false, deletions: false, verify: false, dryRun: false },
      ...{ batchesAtOnce: 2, largeAtOnce: 2, scanAhead: 200, maxAttempts: 3, maxEvents: 3_500 },
      ...this.plan,
    };
  }

  /** Queues have fixed names, so a bench has its namespace to itself while it runs. */
  async run<T>(body: (handle: JobHandle) => Promise<T>): Promise<T> {
    return await this.serving(async () => await body(await this.start()));
  }

  async start(input: Partial<UploadJobInput> = {}): Promise<JobHandle> {
    return await this.env.client.workflow.start<UploadJob>('uploadJob', {
      args: [{ ...this.input, ...input }],
      workflowId: jobWorkflowId(this.id),
      taskQueue: 'orchestration',
      memo: { fingerprint: 'f' },
      typedSearchAttributes: [
        { key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.kind, 'KEYWORD'), value: 'job' },
        { key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'), value: 'PENDING' },
      ],
    });
  }

  async serving<T>(body: () => Promise<T>): Promise<T> {
    const activities = this.recorded();
    const common = {
      connection: this.env.nativeConnection,
      namespace: this.env.namespace,
      activities,
      maxHeartbeatThrottleInterval: 100,
    };
    const workflowBundle = this.env.bundle;
    const queues = ['transfer', ...(this.root ? [rootQueue(ROOT)] : [])];
    const orchestration = await Worker.create({ ...common, taskQueue: 'orchestration', workflowBundle });
    let run = (): Promise<T> => orchestration.runUntil(body());
    for (const taskQueue of queues) {
      const worker = await Worker.create({ ...common, taskQueue });
      const inner = run;
      run = () => worker.runUntil(inner());
    }
    return await run();
  }

  /** The activities; each call is noted. */
  recorded(): JobActivities {
    const noted = Object.entries(this.whole()).map(([name, activity]) => [
      name,
      (...args: never[]) => {
        this.calls.push(name);
        return (activity as (...args: never[]) => Promise<unknown>)(...args);
      },
    ]);
    return Object.fromEntries(noted) as JobActivities;
  }

  states(): string[] {
    return this.reports.map(({ state, phase }) => `${state} ${phase}`);
  }

  count(name: keyof JobActivities): number {
    return this.calls.filter((call) => call === name).length;
  }
}
