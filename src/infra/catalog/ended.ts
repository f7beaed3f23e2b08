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
  const node = report.source.kind === 'client' ? await nodeOf(tx, report.id) : undefined;
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
  if (event !== undefined) await appendEvent(tx, event);
}

/** In the transaction that writes the end of a job's run. */
export async function jobEnded(tx: Queryable, installation: string, job: EndedJob): Promise<void> {
  const event = jobEvent(installation, job);
  if (event !== undefined) await appendEvent(tx, event);
}

/** undefined for a session that was never opened. */
async function nodeOf(tx: Queryable, id: string): Promise<EventNode | undefined> {
  const { rows } = await query<{ node_id: string; connector_id: string | null; name: string }>(
    tx,
    'uploadEnding',
    {
      name: 'node-of-session',
      text: 'SELECT node_id, connector_id, name FROM sessions WHERE id = $1',
      values: [id],
    },
  );
  const [row] = rows;
  return row && { nodeId: row.node_id, connectorId: row.connector_id, name: row.name };
}
