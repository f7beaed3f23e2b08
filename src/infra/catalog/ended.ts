/** The events of what ends, appended by the transactions that end it. */
import { jobEvent, uploadEvent, uploadSubject, type EndedJob, type EventNode } from '../../core/events.js';
import { isTerminal } from '../../core/states.js';
import type { UploadReport } from '../../core/uploads.js';
import { appendEvent, lockSubject } from './outbox.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

/**
 * Before the first write of the transaction that reports an upload; answers what `uploadEnded` is to be given. A report
 * of an upload that goes on costs nothing.
 */
export async function uploadEnding(tx: Queryable, report: UploadReport): Promise<EventNode | undefined> {
  if (!isTerminal(report.state)) return undefined;
  const node = await nodeOf(tx, report);
  await lockSubject(tx, uploadSubject(report.id, node));
  return node;
}

/** Once the report has changed the row: a late or repeated one is no news. */
export async function uploadEnded(
  tx: Queryable,
  installation: string,
  report: UploadReport,
  node: EventNode | undefined,
): Promise<void> {
  const event = uploadEvent(installation, report, node);
  if (event !== undefined) await appendEvent(tx, installation, event);
}

/** In the transaction that writes the end of a job's run. */
export async function jobEnded(tx: Queryable, installation: string, job: EndedJob): Promise<void> {
  const event = jobEvent(installation, job);
  if (event !== undefined) await appendEvent(tx, installation, event);
}

/** undefined for an upload that is of no node, and for a session that was never opened. */
async function nodeOf(tx: Queryable, { id, nodeId, source }: UploadReport): Promise<EventNode | undefined> {
  if (source.kind === 'client') return await nodeIn(tx, 'sessions', id);
  if (nodeId === undefined) return undefined;
  return (await nodeIn(tx, 'nodes', nodeId)) ?? { nodeId, connectorId: null, name: null };
}

async function nodeIn(
  tx: Queryable,
  table: 'sessions' | 'nodes',
  id: string,
): Promise<EventNode | undefined> {
  const { rows } = await query<RawNode>(tx, 'uploadEnding', {
    name: `event-node-of-${table}`,
    text: `SELECT node_id, connector_id, name FROM ${table} WHERE ${table === 'nodes' ? 'node_id' : 'id'} = $1`,
    values: [id],
  });
  const [row] = rows;
  return row && { nodeId: row.node_id, connectorId: row.connector_id, name: row.name };
}

interface RawNode {
  node_id: string;
  connector_id: string | null;
  name: string;
}
