/** Workflow ids and task queues. Nothing else builds or takes apart one. */

const UPLOAD_PREFIX = 'upload/';

/** Ids that people choose: they appear in URLs, file names and shells. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$/;

export function uploadWorkflowId(id: string): string {
  return `${UPLOAD_PREFIX}${id}`;
}

export function uploadIdOf(workflowId: string): string | undefined {
  return workflowId.startsWith(UPLOAD_PREFIX) ? workflowId.slice(UPLOAD_PREFIX.length) : undefined;
}

const JOB_PREFIX = 'job/';

/** All runs of a job have one id, so that Temporal itself keeps a job from running twice at once. */
export function jobWorkflowId(id: string): string {
  return `${JOB_PREFIX}${id}`;
}

export function jobIdOf(workflowId: string): string | undefined {
  return workflowId.startsWith(JOB_PREFIX) ? workflowId.slice(JOB_PREFIX.length) : undefined;
}

/** The Temporal Schedule of a monitored job. */
export function monitorScheduleId(id: string): string {
  return `monitor/${id}`;
}

/** A check for changes; the Schedule appends a time stamp. */
export function checkWorkflowId(id: string): string {
  return `check/${id}`;
}

/** The upload of a job's large file. */
export function largeUploadId(id: string, generation: number, file: number): string {
  return `${id}.${generation}.${file}`;
}

/** A sweep; the Schedule appends a time stamp. */
export function sweepWorkflowId(id: string): string {
  return `sweep/${id}`;
}

/** The Temporal Schedule of sweeps. */
export const SWEEP_SCHEDULE = 'sweep';

/** The one relay of a sink of events. */
export function relayWorkflowId(sink: string): string {
  return `relay/${sink}`;
}

export const QUEUES = { orchestration: 'orchestration', transfer: 'transfer' } as const;

/** The queue that only workers with this root poll. */
export function rootQueue(root: string): string {
  return `${QUEUES.transfer}@${root}`;
}
