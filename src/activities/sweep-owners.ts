/** What Temporal knows of the owners of rows: whether they live, and which multipart uploads they began. */
import {
  WorkflowNotFoundError,
  type Client,
  type WorkflowExecutionDescription,
  type WorkflowExecutionStatusName,
} from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { CREATES, type OpenMultipart, type Owner, type Standing } from '../core/maintenance.js';
import type { CreatedUpload } from '../core/upload-steps.js';
import type { KeyOwner, SilentJob } from '../infra/catalog/maintenance.js';
import { isTerminal } from '../core/states.js';
import type { TemporalConfig } from '../infra/config.js';
import { temporalError } from '../infra/temporal/connection.js';

export interface OwnersDeps {
  client: Client;
  temporal: TemporalConfig;
  installation: string;
}

/** undefined: Temporal has forgotten it, or never knew it. */
type Described = WorkflowExecutionDescription | undefined;

type Run = Pick<WorkflowExecutionDescription, 'runId' | 'startTime'>;

/** What the histories of all runs of a workflow say. */
interface Begun {
  /** In the order in which they were begun. */
  ids: string[];
  /** The last run has asked for one more. */
  creating: boolean;
  /** One was asked for more than once, or ended without an answer. */
  lost: boolean;
  /** When the first run began that Temporal still remembers, ms since 1970. */
  since: number;
}

/** Of a workflow that Temporal knows no more: nobody can tell whether it heard of all that it had begun. */
const FORGOTTEN: Begun = { ids: [], creating: false, lost: true, since: Infinity };

/** Dead is only what has ended for good. */
const CLOSED: ReadonlySet<WorkflowExecutionStatusName> = new Set([
  'COMPLETED',
  'FAILED',
  'CANCELLED',
  'TERMINATED',
  'TIMED_OUT',
] as const);

/** A paused workflow goes on some day; what else servers say, or will, says nothing for certain. */
function standingAs(status: WorkflowExecutionStatusName): Standing {
  if (CLOSED.has(status)) return 'closed';
  return status === 'RUNNING' || status === 'PAUSED' ? 'running' : 'unknown';
}

/** Runs tell when they began to the millisecond, and Temporal may round the same time otherwise. */
const ROUNDED_MS = 1000;

/** A Create may still be on its way so long after its workflow last said anything: no activity of that kind lasts longer. */
const CREATE_LASTS_MS = 25 * 3_600_000;

/** Asks Temporal about each workflow once. Made anew for each activity: what it knows grows old. */
export class Owners {
  private readonly described = new Map<string, Promise<Described>>();
  private readonly begun = new Map<string, Promise<Begun>>();
  private retention: Promise<number> | undefined;

  /** `now`: ms since 1970. */
  constructor(
    private readonly deps: OwnersDeps,
    private readonly scope: { olderThanMs: number; now: number },
  ) {}

  async describe(workflowId: string): Promise<Described> {
    const asked = this.described.get(workflowId) ?? this.askDescription(workflowId);
    this.described.set(workflowId, asked);
    return await asked;
  }

  /** A row that did not end, of a workflow that Temporal does not know, is dead only when it is too old to be anything else. */
  async standingOf(row: Pick<KeyOwner | SilentJob, 'workflowId' | 'state' | 'updatedAt'>): Promise<Standing> {
    const known = await this.describe(row.workflowId);
    if (known !== undefined) return standingAs(known.status.name);
    if (isTerminal(row.state)) return 'closed';
    const forgotten = (await this.askRetention()) + this.scope.olderThanMs;
    return Date.parse(row.updatedAt) < this.scope.now - forgotten ? 'closed' : 'unknown';
  }

  /** The owner of a row, as far as `uploads` (those at its key) make it necessary to know it. */
  async of(row: KeyOwner, uploads: readonly OpenMultipart[]): Promise<Owner> {
    const written = [row.s3UploadId, row.sessionUploadId].filter((id) => id !== null);
    const { id } = row;
    const from = Date.parse(row.createdAt);
    if (row.installation !== this.deps.installation) {
      const until = row.finishedAt === null ? Infinity : Date.parse(row.finishedAt);
      const begun = new Set(written);
      const nothing = { creating: false, mayHaveLost: false };
      return { id, ours: false, standing: 'unknown', from, until, begun, current: begun, ...nothing };
    }
    const standing = await this.standingOf(row);
    const common = { id, ours: true, standing, from, until: await this.untilOf(row, standing) };
    const plain = uploads.every(({ s3UploadId }) => written.includes(s3UploadId));
    if (plain || standing === 'unknown') {
      const begun = new Set(written);
      return { ...common, begun, current: begun, creating: false, mayHaveLost: false };
    }
    const { ids, creating, lost, since } = await this.historyOf(row.workflowId);
    const last = ids.at(-1);
    // A row begins with the first run of its id, which Temporal forgets before those that came after it.
    const forgotten = since > from + ROUNDED_MS;
    return {
      ...common,
      begun: new Set([...written, ...ids]),
      current: new Set(last === undefined ? written : [...written, last]),
      creating: creating && standing === 'running',
      mayHaveLost: lost || forgotten || row.probes || (creating && standing === 'closed'),
    };
  }

  private async untilOf(row: KeyOwner, standing: Standing): Promise<number> {
    if (standing === 'running') return Infinity;
    const closed = (await this.describe(row.workflowId))?.closeTime;
    if (closed !== undefined) return closed.getTime();
    return row.finishedAt === null ? Date.parse(row.updatedAt) + CREATE_LASTS_MS : Date.parse(row.finishedAt);
  }

  /** Every multipart upload that any run of the workflow has begun, as long as Temporal remembers it. */
  private async historyOf(workflowId: string): Promise<Begun> {
    const asked = this.begun.get(workflowId) ?? this.askHistories(workflowId);
    this.begun.set(workflowId, asked);
    return await asked;
  }

  private async askDescription(workflowId: string): Promise<Described> {
    try {
      return await this.deps.client.workflow.getHandle(workflowId).describe();
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw temporalError(this.deps.temporal, 'describe', error);
    }
  }

  private async askHistories(workflowId: string): Promise<Begun> {
    const latest = await this.describe(workflowId);
    if (latest === undefined) return FORGOTTEN;
    try {
      const ids: string[] = [];
      let anyLost = false;
      const earlier = await this.earlierRuns(workflowId, latest.runId);
      for (const { runId } of earlier) {
        const run = await this.createsOf(workflowId, runId);
        ids.push(...run.ids);
        anyLost ||= run.lost || run.creating;
      }
      const last = await this.createsOf(workflowId, latest.runId);
      return {
        ids: [...ids, ...last.ids],
        creating: last.creating,
        lost: anyLost || last.lost,
        since: (earlier[0] ?? latest).startTime.getTime(),
      };
    } catch (error) {
      throw temporalError(this.deps.temporal, 'fetchHistory', error);
    }
  }

  private async earlierRuns(workflowId: string, latest: string): Promise<Run[]> {
    const runs: Run[] = [];
    const query = `WorkflowId = '${workflowId.replaceAll("'", "''")}'`;
    for await (const run of this.deps.client.workflow.list({ query })) {
      if (run.runId !== latest) runs.push(run);
    }
    return runs.sort((a, b) => a.startTime.getTime() - b.startTime.getTime());
  }

  private async createsOf(workflowId: string, runId: string): Promise<Omit<Begun, 'since'>> {
    const { events } = await this.deps.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const open = new Set<string>();
    const ids: string[] = [];
    let lost = false;
    for (const event of events ?? []) {
      const asked = event.activityTaskScheduledEventAttributes;
      if (CREATES.has(asked?.activityType?.name ?? '')) open.add(String(event.eventId));
      const started = event.activityTaskStartedEventAttributes;
      // What became of the attempts before, history does not tell.
      if (started && open.has(String(started.scheduledEventId)) && (started.attempt ?? 1) > 1) lost = true;
      const answered = event.activityTaskCompletedEventAttributes;
      const ended =
        answered ??
        event.activityTaskFailedEventAttributes ??
        event.activityTaskTimedOutEventAttributes ??
        event.activityTaskCanceledEventAttributes;
      if (!ended || !open.delete(String(ended.scheduledEventId))) continue;
      if (!answered) lost = true;
      const payload = answered?.result?.payloads?.[0];
      if (payload) ids.push(defaultPayloadConverter.fromPayload<CreatedUpload>(payload).s3UploadId);
    }
    return { ids, creating: open.size > 0, lost };
  }

  private async askRetention(): Promise<number> {
    const { client, temporal } = this.deps;
    this.retention ??= client.workflowService
      .describeNamespace({ namespace: temporal.namespace })
      .then(({ config }) => Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) * 1000);
    try {
      return await this.retention;
    } catch (error) {
      throw temporalError(temporal, 'describeNamespace', error);
    }
  }
}
