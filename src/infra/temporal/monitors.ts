/** The Temporal Schedules of monitored jobs: one each, to be seen and paused in the Web UI. */
import { ScheduleOverlapPolicy, type Client, type ScheduleOptions } from '@temporalio/client';
import { checkWorkflowId, monitorScheduleId, QUEUES } from '../../core/ids.js';
import type { MonitorInput } from '../../core/job-steps.js';
import { MONITOR_WORKFLOW, type JobDefinition } from '../../core/jobs.js';
import { describeJobWay, JOB_KEYS } from './job-runs.js';
import { ifThere, putSchedule } from './schedules.js';
import { summarize } from './summary.js';

export interface Monitor {
  input: MonitorInput;
  definition: Pick<JobDefinition, 'sourceFolder' | 'destination'>;
  /** Seconds. */
  interval: number;
}

/** What was missed while Temporal was away is not made up for: the next look sees it all. */
const CATCH_UP = '2 minutes';

/** Creates the schedule, or brings it up to date; whether it is paused stays as it is. */
export async function putMonitor(client: Client, monitor: Monitor): Promise<void> {
  await putSchedule(client, scheduleOf(monitor));
}

/** False when there was none. */
export async function removeMonitorSchedule(client: Client, id: string): Promise<boolean> {
  return await ifThere(() => client.schedule.getHandle(monitorScheduleId(id)).delete());
}

/** False when there is none. */
export async function pauseMonitor(client: Client, id: string, paused: boolean): Promise<boolean> {
  const handle = client.schedule.getHandle(monitorScheduleId(id));
  return await ifThere(() => (paused ? handle.pause('paused with its job') : handle.unpause()));
}

function scheduleOf({ input, definition, interval }: Monitor): ScheduleOptions {
  const { id } = input;
  const { bucket } = definition.destination;
  return {
    scheduleId: monitorScheduleId(id),
    spec: { intervals: [{ every: `${interval} seconds`, offset: `${offsetOf(id, interval)} seconds` }] },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: CATCH_UP },
    memo: { job: id, way: describeJobWay(definition) },
    typedSearchAttributes: [
      { key: JOB_KEYS.kind, value: 'monitor' },
      { key: JOB_KEYS.bucket, value: bucket },
    ],
    action: {
      type: 'startWorkflow',
      workflowType: MONITOR_WORKFLOW,
      workflowId: checkWorkflowId(id),
      taskQueue: QUEUES.orchestration,
      args: [input],
      typedSearchAttributes: [
        { key: JOB_KEYS.kind, value: 'check' },
        { key: JOB_KEYS.bucket, value: bucket },
      ],
      staticSummary: summarize(`look at ${definition.sourceFolder}`),
    },
  };
}

/** Jobs with the same interval are looked at one after the other, not all on the full minute. */
function offsetOf(id: string, interval: number): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 1_000_003;
  return sum % interval;
}
