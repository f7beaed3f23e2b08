/** A bench for workflows: one upload with activities of the test's own, on workers of its own. */
import { randomUUID } from 'node:crypto';
import {
  ApplicationFailure,
  WorkflowFailedError,
  type Client,
  type WorkflowHandle,
} from '@temporalio/client';
import { CancelledFailure, Context } from '@temporalio/activity';
import { defineSearchAttributeKey } from '@temporalio/common';
import { Worker, type NativeConnection } from '@temporalio/worker';
import type { OrchestrationActivities } from '../../src/activities/catalog.js';
import type { SessionActivities, SessionCatalogActivities } from '../../src/activities/sessions.js';
import type { TransferActivities } from '../../src/activities/uploads.js';
import { ERRORS, type ErrorCode } from '../../src/core/errors.js';
import type { BeginSessionInput, BegunSession } from '../../src/core/sessions.js';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { MiB } from '../../src/core/limits.js';
import { planParts, planWindows } from '../../src/core/part-plan.js';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import type {
  ClientSource,
  Source,
  UploadObjectInput,
  UploadReport,
  UploadResult,
} from '../../src/core/uploads.js';
import type { Inspection, StoredObject, WindowResult } from '../../src/core/upload-steps.js';
import { workflowBundle, type TestNamespace } from './temporal.js';
import { eventually } from './wait.js';

export interface BenchServer {
  client: Client;
  nativeConnection: NativeConnection;
  namespace: string;
  bundle: { code: string };
}

/** What benches of this namespace run on. */
export async function benchServer(temporal: TestNamespace): Promise<BenchServer> {
  const { client, namespace } = temporal;
  return {
    client,
    namespace,
    nativeConnection: await temporal.nativeConnection(),
    bundle: await workflowBundle(),
  };
}

export interface RunningBenchWorker {
  end(): Promise<void>;
}

const PART = 8 * MiB;

type BenchActivities = TransferActivities &
  OrchestrationActivities &
  SessionActivities &
  SessionCatalogActivities;

export class Bench {
  readonly reports: UploadReport[] = [];
  readonly calls: string[] = [];
  parts = 300;
  source: Source = { kind: 'object', bucket: 'from', key: 'k' };
  transfer: Partial<BenchActivities> = {};
  private steps: BenchActivities | undefined;

  constructor(
    readonly env: BenchServer,
    readonly id: string = randomUUID(),
  ) {}

  get input(): UploadObjectInput {
    return {
      id: this.id,
      source: this.source,
      destination: { bucket: 'to-bucket', key: 'k' },
      options: {},
    };
  }

  inspection(): Inspection {
    const size = this.parts * PART - 1;
    const { source } = this;
    if (source.kind === 'client') return sessionInspection(source, size);
    return {
      source: { kind: 'object', bucket: 'from', key: 'k', size, etag: '"e"', crc32: null, serverSide: false },
      plan: {
        kind: 'parts',
        mode: 'random',
        parts: planParts(size, PART),
        windows: planWindows(this.parts),
        windowsAtOnce: 2,
      },
      options: { contentType: 'a/b', checksum: true, concurrency: 4 },
      maxGenerations: 3,
    };
  }

  activities(): BenchActivities {
    const whole: BenchActivities = {
      ping: () => Promise.resolve(),
      inspectSource: () => Promise.resolve(this.inspection()),
      createMultipartUpload: ({ token }) =>
        Promise.resolve({ s3UploadId: `mpu-${token.nonce}`, token, before: 'absent' as const }),
      uploadParts: ({ window }) => Promise.resolve(windowResult(window)),
      completeMultipartUpload: ({ created, size }) => Promise.resolve(stored(size, created.token)),
      abortMultipartUpload: () => Promise.resolve(),
      putObject: ({ token }) => Promise.resolve(stored(1, token)),
      settleObject: () => Promise.resolve(null),
      verifyObject: ({ stored: { etag, size } }) =>
        Promise.resolve({ verification: 'full' as const, etag, size }),
      reportUpload: (report) => {
        this.reports.push(report);
        return Promise.resolve();
      },
      requestCancellation: async ({ workflowId, runId }) => {
        await this.env.client.workflow.getHandle(workflowId, runId).cancel();
      },
      beginSession: (input) => this.begin(input),
      openSession: ({ runGeneration, s3UploadId }) =>
        Promise.resolve({ generation: runGeneration, s3UploadId }),
      findBegun: () => Promise.resolve(null),
      lifeLeft: () => Promise.resolve(0),
      setSessionOpen: () => Promise.resolve(0),
      completeSession: ({ created }) => Promise.resolve({ stored: stored(7, created.token), parts: 3 }),
      ...this.transfer,
    };
    this.steps = Object.fromEntries(
      Object.entries(whole).map(([name, activity]) => [
        name,
        (...args: never[]) => {
          this.calls.push(name);
          return (activity as (...args: never[]) => Promise<unknown>)(...args);
        },
      ]),
    ) as unknown as BenchActivities;
    return this.steps;
  }

  /** As the activity: out of the steps that a test may have given. */
  private async begin(input: BeginSessionInput): Promise<BegunSession> {
    const { upload, inspection: known, token, lost, report, runGeneration } = input;
    const { runId, runStartedAt } = report;
    const steps = this.steps as BenchActivities;
    const inspection = known ?? (await steps.inspectSource(upload));
    await steps.reportUpload(report);
    const common = { upload, inspection, token };
    const created = await steps.createMultipartUpload({ ...common, ...(lost === undefined ? {} : { lost }) });
    const { s3UploadId } = created;
    const opening = { ...common, s3UploadId, runId, runStartedAt, runGeneration };
    const opened = await steps
      .reportUpload({ ...report, sequence: report.sequence + 1, s3UploadId })
      .then(() => steps.openSession(opening))
      .catch(() => undefined);
    const generation = opened === undefined ? {} : { generation: opened.generation };
    return { ...created, inspection, ...generation, s3UploadId: opened?.s3UploadId ?? s3UploadId };
  }

  /** Queues have fixed names, so a bench has them to itself while it runs. */
  async run<T>(
    body: (handle: WorkflowHandle<(input: UploadObjectInput) => Promise<UploadResult>>) => Promise<T>,
  ): Promise<T> {
    const activities = this.activities();
    const common = { connection: this.env.nativeConnection, namespace: this.env.namespace, activities };
    const orchestration = await Worker.create({
      ...common,
      taskQueue: 'orchestration',
      workflowBundle: this.env.bundle,
    });
    const transfer = await Worker.create({
      ...common,
      taskQueue: 'transfer',
      maxHeartbeatThrottleInterval: 100,
    });
    const start = async (): Promise<T> => {
      const handle = await this.env.client.workflow.start<
        (input: UploadObjectInput) => Promise<UploadResult>
      >('uploadObject', {
        args: [this.input],
        workflowId: uploadWorkflowId(this.id),
        taskQueue: 'orchestration',
        typedSearchAttributes: [
          { key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'), value: 'PENDING' },
        ],
      });
      return await body(handle);
    };
    return await transfer.runUntil(orchestration.runUntil(start()));
  }

  /** One more worker of the same activities, on another queue. */
  async serve(taskQueue: string): Promise<RunningBenchWorker> {
    const { nativeConnection: connection, namespace } = this.env;
    const worker = await Worker.create({ connection, namespace, taskQueue, activities: this.activities() });
    const finished = worker.run();
    const end = (): Promise<void> => {
      worker.shutdown();
      return finished;
    };
    return { end };
  }

  states(): string[] {
    return this.reports.map((report) => report.state);
  }
}

/** A session of a minute. */
export function sessionSource(change: Partial<ClientSource> = {}): ClientSource {
  return { kind: 'client', name: 'a.bin', nodeId: 'node-1', mode: 'chunks', ttlMs: 60_000, ...change };
}

function sessionInspection(source: ClientSource, size: number): Inspection {
  return {
    source: { ...source, size },
    plan: {
      ...{ kind: 'parts', mode: 'sequential', windows: [], windowsAtOnce: 0 },
      parts: planParts(size, PART),
    },
    options: { contentType: 'a/b', checksum: true, concurrency: 4 },
    maxGenerations: 3,
  };
}

export function windowResult(
  { first, last }: { first: number; last: number },
  change: Partial<WindowResult> = {},
): WindowResult {
  const partsDone = last - first + 1;
  return {
    ledger: `L${first}`,
    partsDone,
    bytesDone: partsDone * PART,
    bytesSent: partsDone * PART,
    finished: true,
    ...change,
  };
}

export function stored(size: number, token: StoredObject['token']): StoredObject {
  return { etag: '"done"', size, token, checksumAccepted: true, crc32: 'AAAAAA==', bytesSent: 0 };
}

export function failing(code: ErrorCode): Promise<never> {
  const details = { code, message: `it is ${code}`, hint: ERRORS[code].hint };
  const nonRetryable = ERRORS[code].retry !== 'retry';
  return Promise.reject(
    ApplicationFailure.create({ type: code, message: details.message, nonRetryable, details: [details] }),
  );
}

/** Waits until the expectations hold. */
export async function until(expectations: () => unknown): Promise<void> {
  await eventually(async () => {
    await expectations();
    return true;
  });
}

export async function failureOf(handle: WorkflowHandle): Promise<unknown> {
  const error: unknown = await handle.result().then(
    () => undefined,
    (caught: unknown) => caught,
  );
  return error instanceof WorkflowFailedError ? error.cause : error;
}

/** An activity that moves nothing until it is told to stop, and then returns what it has. */
export async function untilStopped(result: WindowResult): Promise<WindowResult> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), 50);
  try {
    await context.cancelled;
  } catch (error) {
    if (!(error instanceof CancelledFailure)) throw error;
  } finally {
    clearInterval(beat);
  }
  return result;
}
