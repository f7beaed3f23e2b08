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

export const QUEUES = { orchestration: 'orchestration', transfer: 'transfer' } as const;

/** The queue that only workers with this root poll. */
export function rootQueue(root: string): string {
  return `${QUEUES.transfer}@${root}`;
}
