/** Sweeps as clients see them. Reached as `LongshoreClient.maintenance`. */
import { WorkflowFailedError, WorkflowNotFoundError, type Client } from '@temporalio/client';
import { uuidv7 } from 'uuidv7';
import { LongshoreError } from '../core/errors.js';
import { sweepWorkflowId } from '../core/ids.js';
import type { SweepResult } from '../core/maintenance.js';
import type { TemporalConfig } from '../infra/config.js';
import { temporalError, webUiUrl } from '../infra/temporal/connection.js';
import { startSweep, type SweepAsk } from '../infra/temporal/sweeps.js';
import { unclaimedQueue } from './live-progress.js';
import { fromWorkflow } from './outcomes.js';

export interface StartedSweep {
  id: string;
  /** Findings are kept under it. */
  workflowId: string;
  runId: string;
  webUi: string | undefined;
}

export interface SweepView {
  closed: boolean;
  /** The task queue on which something lies that no worker takes. */
  unclaimed: string | undefined;
}

export class MaintenanceClient {
  constructor(
    private readonly config: TemporalConfig,
    private readonly client: Client,
  ) {}

  /** Starts a sweep. Throws TemporalUnavailable. */
  async sweep(ask: Omit<SweepAsk, 'id'>): Promise<StartedSweep> {
    const id = uuidv7();
    try {
      const { workflowId, firstExecutionRunId: runId } = await startSweep(this.client, { id, ...ask });
      return { id, workflowId, runId, webUi: webUiUrl(this.config, workflowId, runId) };
    } catch (error) {
      throw temporalError(this.config, 'sweep', error);
    }
  }

  /** Throws NotFound. */
  async view(id: string): Promise<SweepView> {
    const { closeTime, raw } = await this.ask('describe', id, (handle) => handle.describe());
    const closed = closeTime !== undefined;
    return { closed, unclaimed: closed ? undefined : unclaimedQueue(raw) };
  }

  /** The result once it ends. Throws what it failed with, Cancelled, NotFound. */
  async result(id: string): Promise<SweepResult> {
    try {
      return await this.ask('result', id, (handle) => handle.result() as Promise<SweepResult>);
    } catch (error) {
      throw error instanceof WorkflowFailedError ? fromWorkflow(id, error, 'sweep') : error;
    }
  }

  private async ask<T>(
    op: string,
    id: string,
    step: (handle: ReturnType<Client['workflow']['getHandle']>) => Promise<T>,
  ): Promise<T> {
    try {
      return await step(this.client.workflow.getHandle(sweepWorkflowId(id)));
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw temporalError(this.config, op, error);
      throw new LongshoreError('NotFound', `Temporal knows no sweep ${id}`, { op, key: id, cause: error });
    }
  }
}
