/** How a run of an upload job is started, by whoever does it: a client, or the monitor. */
import { createHash } from 'node:crypto';
import type { Client, WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { canonical } from '../../core/canonical.js';
import { jobWorkflowId, QUEUES } from '../../core/ids.js';
import { JOB_WORKFLOW, type JobDefinition, type JobMemo, type UploadJobInput } from '../../core/jobs.js';
import { SEARCH_ATTRIBUTES } from '../../core/states.js';
import { summarize } from './summary.js';

export const JOB_KEYS = {
  kind: defineSearchAttributeKey(SEARCH_ATTRIBUTES.kind, 'KEYWORD'),
  bucket: defineSearchAttributeKey(SEARCH_ATTRIBUTES.bucket, 'KEYWORD'),
  state: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'),
};

export interface JobRun {
  input: UploadJobInput;
  definition: Pick<JobDefinition, 'sourceFolder' | 'destination'>;
  fingerprint: string;
  /** Made anew by each call that starts: tells who began the run. */
  startedBy: string;
  /** Also when a run has completed before. */
  again: boolean;
}

/** Joins a run that is under way. Throws WorkflowExecutionAlreadyStartedError for one that completed, unless `again`. */
export async function startJobRun(
  client: Client,
  { input, definition, fingerprint, startedBy, again }: JobRun,
): Promise<WorkflowHandleWithFirstExecutionRunId> {
  const memo: JobMemo = { fingerprint, startedBy };
  return await client.workflow.start(JOB_WORKFLOW, {
    args: [input],
    workflowId: jobWorkflowId(input.id),
    taskQueue: QUEUES.orchestration,
    workflowIdConflictPolicy: 'USE_EXISTING',
    workflowIdReusePolicy: again ? 'ALLOW_DUPLICATE' : 'ALLOW_DUPLICATE_FAILED_ONLY',
    memo: { ...memo },
    typedSearchAttributes: [
      { key: JOB_KEYS.kind, value: 'job' },
      { key: JOB_KEYS.bucket, value: definition.destination.bucket },
      { key: JOB_KEYS.state, value: 'PENDING' },
    ],
    staticSummary: summarize(describeJobWay(definition)),
  });
}

/** `/data/photos → s3://bucket/prefix/` */
export function describeJobWay({
  sourceFolder,
  destination: { bucket, prefix },
}: Pick<JobDefinition, 'sourceFolder' | 'destination'>): string {
  return `${sourceFolder} → s3://${bucket}/${prefix}`;
}

/** SHA-256 of the canonical definition, hex. How the folder was spelled, and by which key, makes no difference. */
export function jobFingerprint({ sourceFolder: _, apiKey: __, ...definition }: JobDefinition): string {
  return createHash('sha256').update(canonical(definition)).digest('hex');
}
