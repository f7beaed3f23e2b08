/** Sessions as clients see their workflows. Reached as `LongshoreClient.sessions`; their rows are in the catalog. */
import {
  WorkflowFailedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  type Client,
  type WorkflowHandle,
} from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { ERRORS, isErrorCode, LongshoreError, type FailureView } from '../core/errors.js';
import { uploadWorkflowId } from '../core/ids.js';
import {
  begunSignal,
  COMPLETE_UPDATE,
  lostSignal,
  OPENED_UPDATE,
  type CompleteAsk,
  type CompletionAnswer,
  type OpenedSession,
} from '../core/sessions.js';
import { cancelSignal, type ClientSource, type UploadResult } from '../core/uploads.js';
import { differenceOf } from '../core/validate-sessions.js';
import type { TemporalConfig } from '../infra/config.js';
import { temporalError } from '../infra/temporal/connection.js';
import type { StartedUpload, StartUpload } from './longshore-client.js';
import { fromWorkflow } from './outcomes.js';

export interface StartSession extends StartUpload {
  source: ClientSource;
}

export interface WaitForSession {
  /** Default: 30 s for `opened`, ten minutes for `complete`, 15 s for `cancel`. */
  timeoutMs?: number;
}

const OPEN_MS = 30_000;
const COMPLETE_MS = 600_000;
const CANCEL_MS = 15_000;

export class SessionsClient {
  constructor(
    private readonly config: TemporalConfig,
    private readonly client: Client,
    private readonly startUpload: (input: StartUpload) => Promise<StartedUpload>,
  ) {}

  /**
   * Starts the session's workflow, or finds it running. Throws InvalidInput or KeyTooLong before anything is started,
   * Conflict when the id belongs to another input, AlreadyCompleted (with the result) when it is done.
   */
  async start(input: StartSession): Promise<StartedUpload> {
    return await this.startUpload(input);
  }

  /**
   * Answers once chunks are taken. Throws what the session ended with (AlreadyCompleted when it is complete), NotFound, and
   * TemporalUnavailable when no worker brought it so far in time.
   */
  async opened(id: string, { timeoutMs = OPEN_MS }: WaitForSession = {}): Promise<OpenedSession> {
    const ask = (handle: WorkflowHandle) => handle.executeUpdate<OpenedSession, []>(OPENED_UPDATE);
    return await this.update('opened', id, ask, timeoutMs, () => {
      throw completed('opened', id);
    });
  }

  /** The first byte has come. */
  async begun(id: string): Promise<void> {
    await this.speak('begun', id, (handle) => handle.signal(begunSignal));
  }

  /** S3 knows the multipart upload of this generation no more. A fresh one is begun. */
  async lost(id: string, generation: number): Promise<void> {
    await this.speak('lost', id, (handle) => handle.signal(lostSignal, generation));
  }

  /**
   * Idempotent: a session that is complete answers its result. Throws SizeMismatch or VerificationFailed when what is there
   * is not what the client says it sent (the session goes on), what the session ended with, NotFound.
   */
  async complete(
    id: string,
    ask: CompleteAsk = {},
    { timeoutMs = COMPLETE_MS }: WaitForSession = {},
  ): Promise<CompletionAnswer> {
    const ended = (result: UploadResult): CompletionAnswer => {
      const crc32 = result.checksum?.slice('crc32:'.length);
      const refused = differenceOf(ask, { ...result, crc32 });
      if (refused === undefined) return { result };
      throw new LongshoreError(refused.code, refused.message, { op: 'complete', key: id });
    };
    const asking = (handle: WorkflowHandle) =>
      handle.executeUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE, { args: [ask] });
    return await this.update('complete', id, asking, timeoutMs, ended);
  }

  /**
   * Answers once nothing of it is left; false when that takes longer. Throws AlreadyCompleted when it is too late, NotRunning
   * when it has ended otherwise, NotFound.
   */
  async cancel(id: string, { timeoutMs = CANCEL_MS }: WaitForSession = {}): Promise<boolean> {
    const told = await this.tell(id);
    try {
      await this.within(timeoutMs, () => this.speak('cancel', id, (handle) => handle.result()));
    } catch (error) {
      // It was told, and does it as soon as there is a worker.
      if (error instanceof LongshoreError && error.code === 'TemporalUnavailable' && told) return false;
      if (!(error instanceof WorkflowFailedError)) throw error;
      if (error.cause instanceof CancelledFailure) return true;
      const end = fromWorkflow(id, error);
      if (told) throw end;
      const message = `the session ${id} has ended: ${end.message}`;
      throw new LongshoreError('NotRunning', message, { op: 'cancel', key: id, cause: end });
    }
    throw completed('cancel', id);
  }

  /** False when it had ended already. */
  private async tell(id: string): Promise<boolean> {
    try {
      await this.speak('cancel', id, (handle) => handle.signal(cancelSignal));
      return true;
    } catch (error) {
      if (error instanceof LongshoreError && error.code === 'NotRunning') return false;
      throw error;
    }
  }

  /** `ended` makes an answer of the result of a session that was complete before it could be asked. */
  private async update<Answer>(
    op: string,
    id: string,
    ask: (handle: WorkflowHandle) => Promise<Answer>,
    timeoutMs: number,
    ended: (result: UploadResult) => Answer,
  ): Promise<Answer> {
    return await this.within(timeoutMs, async () => {
      try {
        return await this.speak(op, id, ask);
      } catch (error) {
        if (error instanceof WorkflowUpdateFailedError) throw refusal(op, id, error);
        if (!(error instanceof LongshoreError) || error.code !== 'NotRunning') throw error;
        return ended(await this.result(op, id));
      }
    });
  }

  /** Throws what it ended with. */
  private async result(op: string, id: string): Promise<UploadResult> {
    try {
      return await this.speak(op, id, (handle) => handle.result() as Promise<UploadResult>);
    } catch (error) {
      throw error instanceof WorkflowFailedError ? fromWorkflow(id, error) : error;
    }
  }

  private async within<T>(timeoutMs: number, step: () => Promise<T>): Promise<T> {
    return await this.client.withDeadline(Date.now() + timeoutMs, step);
  }

  private async speak<T>(op: string, id: string, step: (handle: WorkflowHandle) => Promise<T>): Promise<T> {
    try {
      return await step(this.client.workflow.getHandle(uploadWorkflowId(id)));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw await this.gone(op, id, error);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) {
        throw new LongshoreError('TemporalUnavailable', `no worker answered for the session ${id} in time`, {
          ...{ op, key: id, cause: error },
          hint: 'See that a worker serves the orchestration and transfer queues, then ask again.',
        });
      }
      throw temporalError(this.config, op, error);
    }
  }

  private async gone(op: string, id: string, cause: WorkflowNotFoundError): Promise<LongshoreError> {
    const known = await this.client.workflow
      .getHandle(uploadWorkflowId(id))
      .describe()
      .then(
        () => true,
        (error: unknown) => {
          if (error instanceof WorkflowNotFoundError) return false;
          throw temporalError(this.config, 'describe', error);
        },
      );
    const message = known ? `the session ${id} has ended` : `Temporal knows no session ${id}`;
    return new LongshoreError(known ? 'NotRunning' : 'NotFound', message, { op, key: id, cause });
  }
}

function completed(op: string, id: string): LongshoreError {
  return new LongshoreError('AlreadyCompleted', `the session ${id} is complete`, { op, key: id });
}

/** What the workflow threw at an update. */
function refusal(op: string, id: string, error: WorkflowUpdateFailedError): LongshoreError {
  const { cause } = error;
  if (cause instanceof CancelledFailure) {
    return new LongshoreError('Cancelled', `the session ${id} was cancelled`, { op, key: id, cause: error });
  }
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const [view] = (cause.details ?? []) as (FailureView | undefined)[];
    return new LongshoreError(cause.type, cause.message, {
      op: view?.op ?? op,
      key: view?.key ?? id,
      hint: view?.hint ?? ERRORS[cause.type].hint,
      cause: error,
    });
  }
  return new LongshoreError('Internal', cause?.message ?? error.message, { op, key: id, cause: error });
}
