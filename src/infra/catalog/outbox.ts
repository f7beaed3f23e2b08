/**
 * Events on their way out: written with what they tell of, read in order by the relay of each sink. Installations that
 * share a database share none of it.
 */
import { LongshoreError } from '../../core/errors.js';
import type { CloudEvent, SinkName } from '../../core/events.js';
import { query, transaction } from './pool.js';
import type { Pool, Queryable } from './pool.js';
import { printable } from './values.js';

/** A place in the order of events. `xid` is text, for it is longer than a number. */
export interface OutboxCursor {
  xid: string;
  no: number;
}

export interface OutboxRow extends OutboxCursor {
  event: CloudEvent;
}

/** A relay's hold of its sink, until another claims it. */
export interface SinkHold {
  installation: string;
  sink: SinkName;
  epoch: number;
  cursor: OutboxCursor;
  /** Times that the sink refused the event after the cursor. */
  refusals: number;
  /** Events laid aside since the sink last took one. */
  laidAside: number;
}

/**
 * Keeps the events of one subject in the order in which they happen. Called before the first write of a transaction that
 * appends one: the order is that of the numbers of transactions, and a transaction has its number from its first write.
 */
export async function lockSubject(tx: Queryable, subject: string): Promise<void> {
  await query(tx, 'lockSubject', {
    name: 'lock-subject',
    text: `SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/event/' || $1, 0))`,
    values: [subject],
  });
}

/** In the transaction of what the event tells. An event that is there already stays as it is. */
export async function appendEvent(tx: Queryable, installation: string, event: CloudEvent): Promise<void> {
  await query(tx, 'appendEvent', {
    name: 'append-event',
    text: `INSERT INTO outbox (installation, event_id, subject, type, event) VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (installation, event_id) DO NOTHING`,
    values: [installation, event.id, event.subject, event.type, jsonText(event)],
  });
}

const LONE_SURROGATE = /\p{Surrogate}/gu;

/** jsonb takes neither NUL nor half a character, and what came from outside may hold them. */
function jsonText(event: CloudEvent): string {
  return JSON.stringify(event, (_name, value: unknown) =>
    typeof value === 'string' ? printable(value).replaceAll(LONE_SURROGATE, '\uFFFD') : value,
  );
}

/**
 * Takes a sink over: whoever had it is fenced from now on. A sink that is new begins with the oldest event that is kept.
 * In a database that was restored from a dump the numbers of transactions begin anew, and places in the old order mean
 * nothing; then everything that is kept is sent again, under the same ids.
 */
export async function claimSink(pool: Pool, installation: string, sink: SinkName): Promise<SinkHold> {
  return await transaction(pool, 'claimSink', async (tx) => {
    const { rows } = await query<RawSink>(tx, 'claimSink', {
      name: 'claim-sink',
      text: `INSERT INTO event_sinks AS s (installation, name, epoch) VALUES ($1, $2, 1)
        ON CONFLICT (installation, name) DO UPDATE SET epoch = s.epoch + 1, updated_at = now()
        RETURNING epoch, xid, no, refusals, laid_aside, xid > pg_current_xact_id()
          OR EXISTS (SELECT FROM outbox WHERE installation = $1 AND xid > pg_current_xact_id()) AS restored`,
      values: [installation, sink],
    });
    const [row] = rows;
    if (row === undefined) throw new LongshoreError('Internal', 'no sink was claimed', { op: 'claimSink' });
    const { restored, xid, no, refusals, laid_aside: laidAside } = row;
    if (restored) await beginAnew(tx, installation, sink);
    const place = restored
      ? { cursor: BEGINNING, refusals: 0, laidAside: 0 }
      : { cursor: { xid, no: Number(no) }, refusals, laidAside };
    return { installation, sink, epoch: Number(row.epoch), ...place };
  });
}

const BEGINNING: OutboxCursor = { xid: '0', no: 0 };

interface RawSink {
  epoch: string;
  xid: string;
  no: string;
  refusals: number;
  laid_aside: number;
  restored: boolean;
}

/** The relays of the other sinks are fenced, and find their new place when they claim it. */
async function beginAnew(tx: Queryable, installation: string, sink: SinkName): Promise<void> {
  await query(tx, 'claimSink', {
    text: `UPDATE outbox SET xid = '1' WHERE installation = $1 AND xid > pg_current_xact_id()`,
    values: [installation],
  });
  await query(tx, 'claimSink', {
    text: `UPDATE event_sinks SET xid = '0', no = 0, refusals = 0, laid_aside = 0,
        epoch = epoch + CASE WHEN name = $2 THEN 0 ELSE 1 END
      WHERE installation = $1`,
    values: [installation, sink],
  });
}

/**
 * Up to `limit` events after the cursor, oldest first; none of a transaction that is at work, nor after one. Throws
 * AttemptFenced when another relay has the sink.
 */
export async function readOutbox(db: Queryable, hold: SinkHold, limit: number): Promise<OutboxRow[]> {
  const { rows } = await query<RawRow>(db, 'readOutbox', {
    name: 'read-outbox',
    text: `SELECT o.xid, o.no, o.event FROM event_sinks s LEFT JOIN LATERAL (
        SELECT xid, no, event FROM outbox
        WHERE installation = $1 AND (xid, no) > ($4::xid8, $5::bigint)
          AND xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xid, no LIMIT $6
      ) o ON true
      WHERE s.installation = $1 AND s.name = $2 AND s.epoch = $3 ORDER BY o.xid, o.no`,
    values: [...placeOf(hold), hold.cursor.xid, hold.cursor.no, limit],
  });
  if (rows.length === 0) throw overtaken('readOutbox', hold);
  return rows.flatMap(({ xid, no, event }) =>
    xid === null || no === null || event === null ? [] : [{ xid, no: Number(no), event }],
  );
}

interface RawRow {
  xid: string | null;
  no: string | null;
  event: CloudEvent | null;
}

/**
 * Moves the cursor past what the sink has taken, `sent` events, or with 0 past one that is laid aside; gives the hold from
 * then on. Only from where the hold has it: throws AttemptFenced when another relay has the sink, or has moved it.
 */
export async function advanceSink(
  db: Queryable,
  hold: SinkHold,
  to: OutboxCursor,
  sent: number,
): Promise<SinkHold> {
  const laidAside = sent > 0 ? 0 : hold.laidAside + 1;
  const { rowCount } = await query(db, 'advanceSink', {
    name: 'advance-sink',
    text: `UPDATE event_sinks SET xid = $6::xid8, no = $7, refusals = 0, laid_aside = $8, sent = sent + $9,
        away_since = NULL, away_reason = NULL, updated_at = now()
      WHERE installation = $1 AND name = $2 AND epoch = $3 AND xid = $4::xid8 AND no = $5`,
    values: [...placeOf(hold), hold.cursor.xid, hold.cursor.no, to.xid, to.no, laidAside, sent],
  });
  if (rowCount !== 1) throw overtaken('advanceSink', hold);
  return { ...hold, cursor: { xid: to.xid, no: to.no }, refusals: 0, laidAside };
}

/** Counts one more refusal of the event after the cursor. Throws AttemptFenced. */
export async function noteRefusal(db: Queryable, hold: SinkHold): Promise<SinkHold> {
  const { rows } = await query<{ refusals: number }>(db, 'noteRefusal', {
    name: 'note-refusal',
    text: `UPDATE event_sinks SET refusals = refusals + 1, updated_at = now()
      WHERE installation = $1 AND name = $2 AND epoch = $3 RETURNING refusals`,
    values: placeOf(hold),
  });
  if (rows[0] === undefined) throw overtaken('noteRefusal', hold);
  return { ...hold, refusals: rows[0].refusals };
}

/** Notes that the sink cannot be reached, for people to read; `advanceSink` takes it back. Throws AttemptFenced. */
export async function noteAway(db: Queryable, hold: SinkHold, reason: string): Promise<void> {
  const { rowCount } = await query(db, 'noteAway', {
    name: 'note-away',
    text: `UPDATE event_sinks SET away_since = coalesce(away_since, now()), away_reason = $4, updated_at = now()
      WHERE installation = $1 AND name = $2 AND epoch = $3`,
    values: [...placeOf(hold), printable(reason)],
  });
  if (rowCount !== 1) throw overtaken('noteAway', hold);
}

/** Lays an event aside that the sink never takes, and goes past it. Throws AttemptFenced; then nothing was laid aside. */
export async function buryEvent(
  pool: Pool,
  hold: SinkHold,
  row: OutboxRow,
  reason: string,
): Promise<SinkHold> {
  return await transaction(pool, 'buryEvent', async (tx) => {
    const next = await advanceSink(tx, hold, row, 0);
    const { id, subject, type } = row.event;
    await query(tx, 'buryEvent', {
      name: 'bury-event',
      text: `INSERT INTO event_dead_letters (installation, sink, event_id, subject, type, event, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (installation, sink, event_id) DO NOTHING`,
      values: [
        ...[hold.installation, hold.sink, id, subject, type],
        ...[JSON.stringify(row.event), printable(reason)],
      ],
    });
    return next;
  });
}

/** Rows of one statement. */
const PRUNE_SLICE = 10_000;
/** A sink that no relay has held for so long is there no more, and holds nothing back. */
const GONE_MS = 30 * 24 * 3600 * 1000;

/** Removes events older than `keepMs` that every sink of the installation has had. Gives their number. Safe to repeat. */
export async function pruneOutbox(db: Queryable, installation: string, keepMs: number): Promise<number> {
  let pruned = 0;
  for (;;) {
    const { rowCount } = await query(db, 'pruneOutbox', {
      name: 'prune-outbox',
      text: `DELETE FROM outbox WHERE installation = $1 AND (xid, no) IN (
          SELECT o.xid, o.no FROM outbox o
          WHERE o.installation = $1 AND o.created_at < now() - $2 * interval '1 millisecond' AND NOT EXISTS (
            SELECT FROM event_sinks s WHERE s.installation = $1 AND (s.xid, s.no) < (o.xid, o.no)
              AND s.updated_at > now() - $3 * interval '1 millisecond')
          ORDER BY o.xid, o.no LIMIT ${PRUNE_SLICE})`,
      values: [installation, keepMs, GONE_MS],
    });
    pruned += rowCount ?? 0;
    if ((rowCount ?? 0) < PRUNE_SLICE) return pruned;
  }
}

export interface SinkLag {
  sink: string;
  /** Events that wait, at most MOST_COUNTED. */
  waiting: number;
  /** Age of the oldest of them, seconds. */
  age: number;
  dead: number;
  sent: number;
  /** ISO 8601; null while the sink can be reached. */
  awaySince: string | null;
  awayReason: string | null;
}

/** More are not counted: an outage of a day must not make metrics slow. */
export const MOST_COUNTED = 100_000;

/** What waits for each sink of the installation. */
export async function sinkLags(db: Queryable, installation: string): Promise<SinkLag[]> {
  const { rows } = await query<RawLag>(db, 'sinkLags', {
    name: 'sink-lags',
    text: `SELECT s.name AS sink, w.waiting, w.age, s.sent, s.away_since, s.away_reason,
        (SELECT count(*)::int FROM event_dead_letters d
          WHERE d.installation = s.installation AND d.sink = s.name) AS dead
      FROM event_sinks s, LATERAL (
        SELECT count(*)::int AS waiting,
          coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age
        FROM (SELECT created_at FROM outbox o
          WHERE o.installation = s.installation AND (o.xid, o.no) > (s.xid, s.no)
          ORDER BY o.xid, o.no LIMIT ${MOST_COUNTED}) first) w
      WHERE s.installation = $1 ORDER BY s.name`,
    values: [installation],
  });
  return rows.map((row) => ({
    sink: row.sink,
    waiting: row.waiting,
    age: Math.max(0, row.age),
    dead: row.dead,
    sent: Number(row.sent),
    awaySince: row.away_since?.toISOString() ?? null,
    awayReason: row.away_reason,
  }));
}

interface RawLag {
  sink: string;
  waiting: number;
  age: number;
  dead: number;
  sent: string;
  away_since: Date | null;
  away_reason: string | null;
}

/** By which a relay finds its own row, the epoch it began with included. */
function placeOf({ installation, sink, epoch }: SinkHold): [string, SinkName, number] {
  return [installation, sink, epoch];
}

function overtaken(op: string, { sink, epoch }: SinkHold): LongshoreError {
  const message = `another relay has the sink ${sink} (this one is number ${epoch})`;
  return new LongshoreError('AttemptFenced', message, { op, key: sink });
}
