/** Sweeps: one by a Temporal Schedule, to be seen and paused in the Web UI, and those that people ask for. */
import {
  ScheduleOverlapPolicy,
  type Client,
  type ScheduleOptions,
  type WorkflowHandleWithFirstExecutionRunId,
} from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { QUEUES, SWEEP_SCHEDULE, sweepWorkflowId } from '../../core/ids.js';
import { SWEEP_WORKFLOW, type SweepInput } from '../../core/maintenance.js';
import { SEARCH_ATTRIBUTES } from '../../core/states.js';
import type { MaintenanceConfig } from '../config-maintenance.js';
import { ifThere, putSchedule } from './schedules.js';
import { summarize } from './summary.js';

const KIND = defineSearchAttributeKey(SEARCH_ATTRIBUTES.kind, 'KEYWORD');
const BUCKET = defineSearchAttributeKey(SEARCH_ATTRIBUTES.bucket, 'KEYWORD');

/** A sweep that was missed is not made up for: the next one finds the same. */
const CATCH_UP = '10 minutes';
/** Some 1,500 events: far from where Temporal begins to warn. */
const STEPS = 300;

/** Creates the schedule, or brings it up to date; whether it is paused stays as it is. An interval of 0 removes it. */
export async function ensureSweepSchedule(
  client: Client,
  { sweepIntervalMs, sweepAgeMs }: MaintenanceConfig,
  installation: string,
): Promise<void> {
  if (sweepIntervalMs === 0) await ifThere(() => client.schedule.getHandle(SWEEP_SCHEDULE).delete());
  else await putSchedule(client, scheduleOf(sweepIntervalMs, sweepAgeMs, installation));
}

function scheduleOf(intervalMs: number, olderThanMs: number, installation: string): ScheduleOptions {
  const input: SweepInput = { olderThanMs, dryRun: false, steps: STEPS };
  return {
    scheduleId: SWEEP_SCHEDULE,
    spec: { intervals: [{ every: intervalMs, offset: offsetOf(installation, intervalMs) }] },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: CATCH_UP },
    typedSearchAttributes: [{ key: KIND, value: 'sweep' }],
    action: {
      type: 'startWorkflow',
      workflowType: SWEEP_WORKFLOW,
      workflowId: sweepWorkflowId('scheduled'),
      taskQueue: QUEUES.orchestration,
      args: [input],
      typedSearchAttributes: [{ key: KIND, value: 'sweep' }],
      staticSummary: 'end what nobody finishes',
    },
  };
}

/** Installations that share a server do not all sweep at midnight. */
function offsetOf(installation: string, intervalMs: number): number {
  let sum = 0;
  for (const character of installation) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 86_413;
  return (sum * 1000) % intervalMs;
}

export interface SweepAsk {
  /** Chosen by the caller, who looks up the findings by it. */
  id: string;
  olderThanMs: number;
  dryRun: boolean;
  bucket?: string | undefined;
}

export async function startSweep(
  client: Client,
  { id, olderThanMs, dryRun, bucket }: SweepAsk,
): Promise<WorkflowHandleWithFirstExecutionRunId> {
  const where = bucket === undefined ? {} : { bucket };
  const input: SweepInput = { olderThanMs, dryRun, steps: STEPS, ...where };
  const what = dryRun ? 'look for what nobody finishes' : 'end what nobody finishes';
  return await client.workflow.start(SWEEP_WORKFLOW, {
    args: [input],
    workflowId: sweepWorkflowId(id),
    taskQueue: QUEUES.orchestration,
    typedSearchAttributes: [
      { key: KIND, value: 'sweep' },
      ...(bucket === undefined ? [] : [{ key: BUCKET, value: bucket }]),
    ],
    staticSummary: summarize(bucket === undefined ? what : `${what} in ${bucket}`),
  });
}
