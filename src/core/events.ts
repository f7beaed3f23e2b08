/**
 * What Longshore tells others: CloudEvents 1.0, one for each end of an upload and of a job. They hold no secrets. Their
 * JSON Schemas are in docs/events; a change that a reader could notice is a new version of the schema.
 */
import type { FailureView } from './errors.js';
import type { JobCounts } from './jobs.js';
import { isTerminal, type JobState, type UploadState } from './states.js';
import type { UploadReport } from './uploads.js';

export const EVENT_TYPES = [
  'upload.completed',
  'upload.failed',
  'upload.cancelled',
  'upload.expired',
  'job.completed',
  'job.failed',
  'job.cancelled',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

const SCHEMA_VERSION = 1;

/** CloudEvents 1.0, as its JSON format has it. */
export interface CloudEvent<Data = UploadEventData | JobEventData> {
  specversion: '1.0';
  /** The same for every sending of the event: a reader that has seen it drops it. */
  id: string;
  /** The installation, as a URN. */
  source: string;
  type: EventType;
  /** The node's id, or the job's. Events of one subject are sent in the order in which they happened. */
  subject: string;
  /** ISO 8601, UTC. */
  time: string;
  datacontenttype: 'application/json';
  dataschema: string;
  data: Data;
}

export interface EventFailure {
  code: string;
  message: string;
  hint: string;
}

/** Sizes in bytes; null where there is none. */
export interface UploadEventData {
  upload_id: string;
  node_id: string;
  connector_id: string | null;
  /** As the client calls it. */
  name: string | null;
  workflow_id: string;
  run_id: string;
  state: UploadState;
  bucket: string;
  key: string;
  source_kind: string;
  source: string;
  size: number | null;
  etag: string | null;
  version_id: string | null;
  checksum: string | null;
  verification: string | null;
  parts: number | null;
  failure: EventFailure | null;
}

export interface JobEventData {
  job_id: string;
  workflow_id: string;
  run_id: string;
  /** Rises with each run of the job. */
  generation: number;
  state: JobState;
  source_folder: string;
  bucket: string;
  prefix: string;
  dry_run: boolean;
  counts: {
    total_files: number;
    total_bytes: number;
    completed_files: number;
    completed_bytes: number;
    failed_files: number;
    skipped_files: number;
    sent_files: number;
    sent_bytes: number;
    unchanged_files: number;
    deleted_files: number;
  };
  failure: EventFailure | null;
}

/** What the catalog knows of the node that an upload is of. */
export interface EventNode {
  nodeId: string;
  connectorId: string | null;
  name: string | null;
}

export interface EndedJob {
  id: string;
  workflowId: string;
  runId: string;
  generation: number;
  state: JobState;
  sourceFolder: string;
  bucket: string;
  prefix: string;
  dryRun: boolean;
  counts: JobCounts;
  failure?: FailureView | undefined;
}

/** Of whom the events of an upload are, in whose order they are kept. */
export function uploadSubject(id: string, node?: Pick<EventNode, 'nodeId'>): string {
  return node?.nodeId ?? id;
}

/** The event of an upload that has ended; undefined for a report of one that goes on. */
export function uploadEvent(
  installation: string,
  report: UploadReport,
  node?: EventNode,
  time = new Date(),
): CloudEvent<UploadEventData> | undefined {
  const { id, workflowId, runId, state, destination, source, result } = report;
  const type = typeOf('upload', state);
  if (type === undefined) return undefined;
  const subject = uploadSubject(id, node);
  const data: UploadEventData = {
    upload_id: id,
    node_id: subject,
    connector_id: node?.connectorId ?? null,
    name: node?.name ?? null,
    workflow_id: workflowId,
    run_id: runId,
    state,
    bucket: destination.bucket,
    key: destination.key,
    source_kind: source.kind,
    source: source.label,
    size: result?.size ?? report.size ?? null,
    etag: result?.etag ?? null,
    version_id: result?.versionId ?? null,
    checksum: result?.checksum ?? null,
    verification: result?.verification ?? null,
    parts: result?.parts ?? report.parts ?? null,
    failure: failureOf(report.failure),
  };
  return { ...envelope(installation, type, { workflowId, runId, subject, time }), data };
}

/** The event of a run of a job that has ended; undefined in other states. */
export function jobEvent(
  installation: string,
  job: EndedJob,
  time = new Date(),
): CloudEvent<JobEventData> | undefined {
  const { id, workflowId, runId, state, counts } = job;
  const type = typeOf('job', state);
  if (type === undefined) return undefined;
  const data: JobEventData = {
    job_id: id,
    workflow_id: workflowId,
    run_id: runId,
    generation: job.generation,
    state,
    source_folder: job.sourceFolder,
    bucket: job.bucket,
    prefix: job.prefix,
    dry_run: job.dryRun,
    counts: {
      total_files: counts.totalFiles,
      total_bytes: counts.totalBytes,
      completed_files: counts.completedFiles,
      completed_bytes: counts.completedBytes,
      failed_files: counts.failedFiles,
      skipped_files: counts.skippedFiles,
      sent_files: counts.sentFiles,
      sent_bytes: counts.sentBytes,
      unchanged_files: counts.unchangedFiles,
      deleted_files: counts.deletedFiles,
    },
    failure: failureOf(job.failure),
  };
  return { ...envelope(installation, type, { workflowId, runId, subject: id, time }), data };
}

/** The `$id` of the JSON Schema of events of this type. */
export function eventSchemaId(type: EventType): string {
  return `urn:longshore:schema:${type}:${SCHEMA_VERSION}`;
}

interface Occurrence {
  workflowId: string;
  runId: string;
  subject: string;
  time: Date;
}

/** A run ends once, so the id follows from run and type, whoever writes the event and how often. */
function envelope(
  installation: string,
  type: EventType,
  { workflowId, runId, subject, time }: Occurrence,
): Omit<CloudEvent, 'data'> {
  return {
    specversion: '1.0',
    id: `${workflowId}/${runId}/${type}`,
    source: `urn:longshore:installation:${installation}`,
    type,
    subject,
    time: time.toISOString(),
    datacontenttype: 'application/json',
    dataschema: eventSchemaId(type),
  };
}

function typeOf(kind: 'upload' | 'job', state: UploadState | JobState): EventType | undefined {
  const type = `${kind}.${state.toLowerCase()}`;
  return isTerminal(state) ? EVENT_TYPES.find((known) => known === type) : undefined;
}

/** Brokers refuse large messages, and the catalog has the whole text. */
const LONGEST_MESSAGE = 2_000;

function failureOf(failure: FailureView | undefined): EventFailure | null {
  if (failure === undefined) return null;
  const { code, message, hint } = failure;
  const short = message.length > LONGEST_MESSAGE ? `${message.slice(0, LONGEST_MESSAGE)}…` : message;
  return { code, message: short, hint };
}

// ── The relay ────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where events can go: each has one relay, a workflow that never ends. */
export const SINKS = ['kafka', 'sqs', 'webhook'] as const;
export type SinkName = (typeof SINKS)[number];

export const RELAY_WORKFLOW = 'relayEvents';

export interface RelayInput {
  sink: SinkName;
  /** Times in a row that no worker knew the sink, handed over when the workflow continues as new. */
  unknown?: number;
}

/** What one go of the relay's activity answers. */
export interface RelayAnswer {
  /** False when the worker that took it has no such sink in its configuration. */
  known: boolean;
  sent: number;
  dead: number;
}

/** Heartbeat details of the relay's activity. */
export interface RelayHeartbeat extends Omit<RelayAnswer, 'known'> {
  /** The last failure while the sink is away. */
  away?: string;
}
