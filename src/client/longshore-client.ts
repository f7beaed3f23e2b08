/** A typed face of Temporal's client: start uploads, look at them, steer them. The CLI and the API use nothing else. */
import {
  Client,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowNotFoundError,
  type Connection,
  type WorkflowClientInterceptor,
  type WorkflowExecutionDescription,
  type WorkflowHandle,
} from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { uuidv7 } from 'uuidv7';
import { LongshoreError, type FailureView } from '../core/errors.js';
import { QUEUES, uploadWorkflowId } from '../core/ids.js';
import { SEARCH_ATTRIBUTES, type UploadState } from '../core/states.js';
import {
  cancelSignal,
  pauseSignal,
  resumeSignal,
  sourceLabel,
  UPLOAD_WORKFLOW,
  type Destination,
  type UploadMemo,
  type UploadObjectInput,
  type UploadProgress,
  type UploadResult,
} from '../core/uploads.js';
import { validateUpload } from '../core/validate.js';
import type { TemporalConfig } from '../infra/config.js';
import { connectTemporal, temporalError, webUiUrl } from '../infra/temporal/connection.js';
import { summarize } from '../infra/temporal/summary.js';
import { fingerprint } from './fingerprint.js';
import { JobsClient } from './jobs.js';
import { heartbeatsOf, liveProgress, unclaimedQueue } from './live-progress.js';
import { MaintenanceClient } from './maintenance.js';
import { SessionsClient } from './sessions.js';
import { conflict, finalProgress, fromWorkflow, stateOf, terminated } from './outcomes.js';

const KEYS = {
  kind: defineSearchAttributeKey(SEARCH_ATTRIBUTES.kind, 'KEYWORD'),
  bucket: defineSearchAttributeKey(SEARCH_ATTRIBUTES.bucket, 'KEYWORD'),
  state: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'),
};

export interface StartUpload extends Omit<UploadObjectInput, 'id'> {
  /** A fresh one is made when left out. */
  id?: string;
  /** What stands for a sealed address in the fingerprint (`Vault.fingerprintSecret`). */
  secretFingerprint?: string;
}

export interface StartedUpload {
  id: string;
  workflowId: string;
  runId: string;
  webUi: string | undefined;
  /** False when an upload with this id and input was running already. */
  fresh: boolean;
}

/** The refusal of an id whose upload is done: with the same input, its result is the answer. */
export class AlreadyCompleted extends LongshoreError {
  constructor(
    readonly upload: Omit<StartedUpload, 'fresh'>,
    readonly result: UploadResult,
  ) {
    const { workflowId: key } = upload;
    super('AlreadyCompleted', `${key} is complete: ${result.size} bytes, ETag ${result.etag}`, {
      op: 'start',
      key,
      cause: result,
    });
  }
}

/** What Temporal knows of an upload, with or without a living worker. */
export interface UploadView {
  id: string;
  workflowId: string;
  runId: string;
  state: UploadState;
  bucket: string | undefined;
  /** undefined for uploads of earlier releases. */
  destination: Destination | undefined;
  /** As people read it. */
  source: string | undefined;
  progress: UploadProgress;
  /** Once it is COMPLETED. */
  result: UploadResult | undefined;
  /** Why it is BLOCKED or FAILED. */
  failure: FailureView | undefined;
  startedAt: string;
  closedAt: string | undefined;
  historyEvents: number;
  webUi: string | undefined;
  /** The task queue on which something lies that no worker takes. */
  unclaimed: string | undefined;
}

type Handle = WorkflowHandle;

export class LongshoreClient {
  /** Upload jobs: folders. */
  readonly jobs: JobsClient;
  /** Uploads whose bytes a client brings. */
  readonly sessions: SessionsClient;

  readonly maintenance: MaintenanceClient;

  private constructor(
    private readonly config: TemporalConfig,
    readonly connection: Connection,
    private readonly client: Client,
  ) {
    this.jobs = new JobsClient(config, client);
    this.sessions = new SessionsClient(config, client, (input) => this.startUpload(input));
    this.maintenance = new MaintenanceClient(config, client);
  }

  /** Throws TemporalUnavailable. */
  static async connect(
    config: TemporalConfig,
    interceptors: WorkflowClientInterceptor[] = [],
  ): Promise<LongshoreClient> {
    const connection = await connectTemporal(config);
    const { namespace } = config;
    const client = new Client({ connection, namespace, interceptors: { workflow: interceptors } });
    return new LongshoreClient(config, connection, client);
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  /**
   * Starts an upload, or finds it running. Throws InvalidInput or KeyTooLong before anything is started, Conflict when the
   * id belongs to another input, AlreadyCompleted when it is done.
   */
  async startUpload({ id, secretFingerprint, ...rest }: StartUpload): Promise<StartedUpload> {
    const input: UploadObjectInput = { id: id ?? uuidv7(), ...rest };
    validateUpload(input);
    const memo = {
      fingerprint: fingerprint(input, secretFingerprint),
      startedBy: uuidv7(),
      destination: input.destination,
      source: sourceLabel(input.source),
    };
    const workflowId = uploadWorkflowId(input.id);
    const handle = await this.start(input, workflowId, memo);
    const runId = handle.firstExecutionRunId;
    // An id of our own making cannot belong to anyone else.
    const fresh = id === undefined || (await this.isFresh(id, memo));
    return { id: input.id, workflowId, runId, webUi: webUiUrl(this.config, workflowId, runId), fresh };
  }

  private async start(input: UploadObjectInput, workflowId: string, memo: UploadMemo) {
    const { bucket, key } = input.destination;
    try {
      return await this.client.workflow.start(UPLOAD_WORKFLOW, {
        args: [input],
        workflowId,
        taskQueue: QUEUES.orchestration,
        workflowIdConflictPolicy: 'USE_EXISTING',
        workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
        memo: { ...memo },
        typedSearchAttributes: [
          { key: KEYS.kind, value: 'upload' },
          { key: KEYS.bucket, value: bucket },
          { key: KEYS.state, value: 'PENDING' },
        ],
        staticSummary: summarize(`${sourceLabel(input.source)} → s3://${bucket}/${key}`),
      });
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError)
        throw await this.refusal(input.id, workflowId, memo, error);
      throw temporalError(this.config, 'start', error);
    }
  }

  /** The upload with this id has completed: with the same input that is its answer, with another a conflict. */
  private async refusal(
    id: string,
    workflowId: string,
    memo: UploadMemo,
    cause: Error,
  ): Promise<LongshoreError> {
    const description = await this.call('describe', id, (handle) => handle.describe());
    if ((description.memo as UploadMemo | undefined)?.fingerprint !== memo.fingerprint)
      return conflict(workflowId, cause);
    const { runId } = description;
    const result = await this.result(id, runId);
    return new AlreadyCompleted(
      { id, workflowId, runId, webUi: webUiUrl(this.config, workflowId, runId) },
      result,
    );
  }

  /** Whether this very call started the run. Throws Conflict when it has another input. */
  private async isFresh(id: string, memo: UploadMemo): Promise<boolean> {
    const { memo: kept } = await this.call('describe', id, (handle) => handle.describe());
    if ((kept as UploadMemo | undefined)?.fingerprint !== memo.fingerprint)
      throw conflict(uploadWorkflowId(id));
    return (kept as UploadMemo | undefined)?.startedBy === memo.startedBy;
  }

  /** What Temporal knows of its last run; undefined: nothing (any more). */
  async lastRun(id: string): Promise<'open' | 'completed' | 'ended' | undefined> {
    try {
      const { closeTime, status } = await this.call('describe', id, (handle) => handle.describe());
      if (closeTime === undefined) return 'open';
      return status.name === 'COMPLETED' ? 'completed' : 'ended';
    } catch (error) {
      if (error instanceof LongshoreError && error.code === 'NotFound') return undefined;
      throw error;
    }
  }

  /** Throws NotFound when Temporal knows no such upload (any more); the catalog may. */
  async view(id: string): Promise<UploadView> {
    const description = await this.call('describe', id, (handle) => handle.describe());
    const completed = description.status.name === 'COMPLETED';
    return this.viewOf(id, description, completed ? await this.result(id, description.runId) : undefined);
  }

  private viewOf(
    id: string,
    description: WorkflowExecutionDescription,
    result: UploadResult | undefined,
  ): UploadView {
    const memo = (description.memo ?? {}) as Partial<UploadMemo>;
    const { raw, workflowId, runId } = description;
    const attributes = description.typedSearchAttributes;
    return {
      id,
      workflowId,
      runId,
      state: stateOf(description, attributes.get(KEYS.state)),
      bucket: attributes.get(KEYS.bucket),
      destination: memo.destination,
      source: memo.source,
      progress: result === undefined ? liveProgress(memo.progress, heartbeatsOf(raw)) : finalProgress(result),
      result,
      failure: description.status.name === 'TERMINATED' ? terminated(id) : (memo.failure ?? undefined),
      startedAt: description.startTime.toISOString(),
      closedAt: description.closeTime?.toISOString(),
      historyEvents: description.historyLength,
      webUi: webUiUrl(this.config, workflowId, runId),
      unclaimed: description.closeTime === undefined ? unclaimedQueue(raw) : undefined,
    };
  }

  /** The result once the upload ends. Throws what it failed with, Cancelled, or NotFound. */
  async result(id: string, runId?: string): Promise<UploadResult> {
    try {
      return await this.call('result', id, (handle) => handle.result() as Promise<UploadResult>, runId);
    } catch (error) {
      throw error instanceof WorkflowFailedError ? fromWorkflow(id, error) : error;
    }
  }

  async pause(id: string): Promise<void> {
    await this.call('pause', id, (handle) => handle.signal(pauseSignal));
  }

  async resume(id: string): Promise<void> {
    await this.call('resume', id, (handle) => handle.signal(resumeSignal));
  }

  async cancel(id: string): Promise<void> {
    await this.call('cancel', id, (handle) => handle.signal(cancelSignal));
  }

  private async call<T>(
    op: string,
    id: string,
    step: (handle: Handle) => Promise<T>,
    runId?: string,
  ): Promise<T> {
    const workflowId = uploadWorkflowId(id);
    try {
      return await step(this.client.workflow.getHandle(workflowId, runId));
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw temporalError(this.config, op, error);
      const ended = op !== 'describe' && op !== 'result' && (await this.exists(workflowId));
      const message = ended ? `the upload ${id} has ended` : `Temporal knows no upload ${id}`;
      throw new LongshoreError(ended ? 'NotRunning' : 'NotFound', message, { op, key: id, cause: error });
    }
  }

  private async exists(workflowId: string): Promise<boolean> {
    try {
      await this.client.workflow.getHandle(workflowId).describe();
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw temporalError(this.config, 'describe', error);
    }
  }
}
