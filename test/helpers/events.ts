/** Events for tests, made as the catalog makes them. */
import { uploadEvent, type CloudEvent } from '../../src/core/events.js';
import type { UploadReport } from '../../src/core/uploads.js';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { eventually } from './wait.js';

/** A report of an upload that is complete. */
export function completedReport(id: string, change: Partial<UploadReport> = {}): UploadReport {
  const destination = { bucket: 'b', key: `k/${id} ü/🚢` };
  return {
    ...{ id, workflowId: `upload/${id}`, runId: `run-of-${id}`, runStartedAt: '2026-01-01T00:00:00.123Z' },
    ...{ sequence: 3, state: 'COMPLETED', destination, source: { kind: 'file', label: `files:${id}` } },
    result: {
      ...destination,
      ...{ size: 5, etag: '"e"', checksum: 'crc32:AAAAAA==', verification: 'full', bytesSent: 5 },
      ...{ parts: 1, generations: 1 },
    },
    ...change,
  };
}

/** `subject` for its node; `n` tells events of one subject apart. */
export function testEvent(subject: string, n = 0, name: string | null = null): CloudEvent {
  const node = { nodeId: subject, connectorId: null, name };
  const event = uploadEvent(
    'test',
    completedReport(`${subject}-${n}`),
    node,
    new Date(Date.UTC(2026, 0, 1) + n),
  );
  if (event === undefined) throw new Error('a report of an end has an event');
  return event;
}

/** Waits until relays can read so many events: each transaction of other tests holds up those that came after it. */
export async function untilReadable(pool: Pool, count: number): Promise<void> {
  const text = 'SELECT count(*)::int AS n FROM outbox WHERE xid < pg_snapshot_xmin(pg_current_snapshot())';
  await eventually(async () => (await pool.query<{ n: number }>(text)).rows[0]?.n === count, {
    ...{ timeout: 30_000, what: `${count} events to be readable` },
  });
}

/** The numbers of events of each subject, in the order in which they came. */
export function bySubject(events: readonly CloudEvent[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { subject, id } of events) (found[subject] ??= []).push(id);
  return found;
}
