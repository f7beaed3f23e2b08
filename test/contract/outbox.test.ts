import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CloudEvent, SinkName } from '../../src/core/events.js';
import type { JobDefinition } from '../../src/core/jobs.js';
import type { UploadReport } from '../../src/core/uploads.js';
import { finishJob, insertJob, openJob } from '../../src/infra/catalog/jobs.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import {
  advanceSink,
  appendEvent,
  buryEvent,
  claimSink,
  lockSubject,
  noteAway,
  noteRefusal,
  pruneOutbox,
  readOutbox,
  sinkLags,
  type SinkHold,
} from '../../src/infra/catalog/outbox.js';
import { transaction } from '../../src/infra/catalog/pool.js';
import { reportUpload } from '../../src/infra/catalog/uploads.js';
import { faultsOf } from '../helpers/event-schemas.js';
import { completedReport, testEvent } from '../helpers/events.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { eventually } from '../helpers/wait.js';

/** As the guide has it. */
const HERE = 'default';

let db: TestSchema;
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

/** And waits until it can be read. */
async function append(event: CloudEvent, installation = HERE): Promise<void> {
  await appendEvent(db.pool, installation, event);
  await readable();
}

/** A transaction of another test on this server holds back what is written after it. */
async function readable(): Promise<void> {
  await eventually(async () => {
    const { rowCount } = await db.pool.query(
      `SELECT FROM outbox, pg_current_snapshot() AS now
        WHERE xid >= pg_snapshot_xmin(now) AND xid < pg_snapshot_xmax(now)`,
    );
    return rowCount === 0;
  });
}
const idsOf = async (hold: SinkHold, limit = 100) =>
  (await readOutbox(db.pool, hold, limit)).map(({ event }) => event.id);

/** Reads and advances to the end, some at a time. */
async function drain(hold: SinkHold, batch = 2): Promise<{ ids: string[]; hold: SinkHold }> {
  await readable();
  const ids: string[] = [];
  let at = hold;
  for (;;) {
    const rows = await readOutbox(db.pool, at, batch);
    const last = rows.at(-1);
    if (last === undefined) return { ids, hold: at };
    ids.push(...rows.map(({ event }) => event.id));
    at = await advanceSink(db.pool, at, last, rows.length);
  }
}

type Work = Parameters<typeof transaction<void>>[2];

/** A transaction that stands open after `work` until it is told to commit, `after` that. */
async function held(work: Work, after?: Work) {
  let commit = (): void => undefined;
  const mayCommit = new Promise<void>((resolve) => (commit = resolve));
  let begun = (): void => undefined;
  const didBegin = new Promise<void>((resolve) => (begun = resolve));
  const done = transaction(db.pool, 'test', async (tx) => {
    await work(tx);
    begun();
    await mayCommit;
    await after?.(tx);
  });
  await Promise.race([didBegin, done]);
  return {
    commit: async () => {
      commit();
      await done;
    },
  };
}

/** Transactions of this test that wait for the lock of another. */
async function waiting(): Promise<number> {
  const { rowCount } = await db.pool.query(
    `SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`,
    [db.schema],
  );
  return rowCount ?? 0;
}

describe('the order of events', () => {
  test('is that in which they were written, page after page, for each sink by itself', async () => {
    const events = [1, 2, 3, 4, 5].map((n) => testEvent('n', n));
    for (const event of events) await append(event);
    const ids = events.map(({ id }) => id);
    for (const sink of ['kafka', 'sqs'] as SinkName[]) {
      const drained = await drain(await claimSink(db.pool, HERE, sink));
      expect(drained.ids).toEqual(ids);
      expect(await idsOf(drained.hold)).toEqual([]);
    }
  });

  test('loses none that commits late: later ones wait for it', async () => {
    const hold = await claimSink(db.pool, HERE, 'kafka');
    const [late, soon] = [testEvent('late'), testEvent('soon')];
    const slow = await held((tx) => appendEvent(tx, HERE, late));
    await appendEvent(db.pool, HERE, soon);
    // The number of the later one is higher already: whoever read it now would pass by the other.
    expect(await idsOf(hold)).toEqual([]);
    await slow.commit();
    const drained = await drain(hold, 1);
    expect(drained.ids).toEqual([late.id, soon.id]);
  });

  test('of one subject is that of the commits, whoever began first', async () => {
    const hold = await claimSink(db.pool, HERE, 'kafka');
    const committed: string[] = [];
    const ending = (n: number): [Work, Work] => [
      async (tx) => {
        await lockSubject(tx, 'n');
        await tx.query('SELECT pg_current_xact_id()');
      },
      (tx) => appendEvent(tx, HERE, testEvent('n', n)),
    ];
    const [slowly, note] = ending(1);
    const slow = await held(slowly, async (tx) => {
      await note(tx);
      // Before it commits, so before the quick one can go on.
      committed.push(testEvent('n', 1).id);
    });
    const [begin, append] = ending(2);
    const quick = transaction(db.another(), 'test', async (tx) => {
      await begin(tx);
      await append(tx);
    }).then(() => void committed.push(testEvent('n', 2).id));
    // It waits for the slow one, or it is done: then it must not be told of after it.
    await eventually(async () => committed.length > 0 || (await waiting()) > 0);
    await slow.commit();
    await quick;
    expect((await drain(hold, 1)).ids).toEqual(committed);
  });

  test('is not disturbed by what was rolled back', async () => {
    const hold = await claimSink(db.pool, HERE, 'kafka');
    const broken = transaction(db.pool, 'test', async (tx) => {
      await appendEvent(tx, HERE, testEvent('lost'));
      throw new Error('no');
    });
    await expect(broken).rejects.toThrow();
    await append(testEvent('kept'));
    expect(await idsOf(hold)).toEqual([testEvent('kept').id]);
  });
});

describe('a sink', () => {
  test('goes on where it was when its relay is another', async () => {
    for (const n of [1, 2, 3]) await append(testEvent('n', n));
    const first = await claimSink(db.pool, HERE, 'kafka');
    const [row] = await readOutbox(db.pool, first, 1);
    if (row === undefined) throw new Error('nothing was read');
    await advanceSink(db.pool, first, row, 1);
    const second = await claimSink(db.pool, HERE, 'kafka');
    expect(await idsOf(second)).toEqual([2, 3].map((n) => testEvent('n', n).id));
  });

  test('is moved by the relay that claimed it last, and by no other', async () => {
    await append(testEvent('n'));
    const zombie = await claimSink(db.pool, HERE, 'kafka');
    const [row] = await readOutbox(db.pool, zombie, 1);
    if (row === undefined) throw new Error('nothing was read');
    const current = await claimSink(db.pool, HERE, 'kafka');
    const fenced = { code: 'AttemptFenced' };
    await expect(readOutbox(db.pool, zombie, 1)).rejects.toMatchObject(fenced);
    await expect(advanceSink(db.pool, zombie, row, 1)).rejects.toMatchObject(fenced);
    await expect(noteRefusal(db.pool, zombie)).rejects.toMatchObject(fenced);
    await expect(noteAway(db.pool, zombie, 'gone')).rejects.toMatchObject(fenced);
    await expect(buryEvent(db.pool, zombie, row, 'bad')).rejects.toMatchObject(fenced);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 1, dead: 0, sent: 0 }]);
    expect((await drain(current)).ids).toHaveLength(1);
  });

  test('is moved once from each place: the second of two writers is fenced', async () => {
    for (const n of [1, 2]) await append(testEvent('n', n));
    const hold = await claimSink(db.pool, HERE, 'kafka');
    const [first, second] = await readOutbox(db.pool, hold, 2);
    if (first === undefined || second === undefined) throw new Error('too little was read');
    await advanceSink(db.pool, hold, second, 2);
    await expect(advanceSink(db.pool, hold, first, 1)).rejects.toMatchObject({ code: 'AttemptFenced' });
  });

  test('counts refusals until it moves on, over relays; what it never takes is laid aside once', async () => {
    for (const n of [1, 2]) await append(testEvent('n', n));
    const hold = await noteRefusal(db.pool, await claimSink(db.pool, HERE, 'kafka'));
    const again = await noteRefusal(db.pool, await claimSink(db.pool, HERE, 'kafka'));
    expect([hold.refusals, again.refusals]).toEqual([1, 2]);
    const [bad] = await readOutbox(db.pool, again, 1);
    if (bad === undefined) throw new Error('nothing was read');
    const next = await buryEvent(db.pool, again, bad, 'too large');
    expect(next.refusals).toBe(0);
    expect(await idsOf(next)).toEqual([testEvent('n', 2).id]);
    const { rows } = await db.pool.query('SELECT sink, event_id, reason, event FROM event_dead_letters');
    expect(rows).toEqual([{ sink: 'kafka', event_id: bad.event.id, reason: 'too large', event: bad.event }]);
  });

  test('has again what the guide sends again: everything that is kept, and dead letters', async () => {
    const guide = await readFile(new URL('../../docs/events.md', import.meta.url), 'utf8');
    const [anew = '', letters = ''] = [...guide.matchAll(/`((?:UPDATE|INSERT)[^`]+)`/g)].map(
      ([, sql]) => sql,
    );
    for (const n of [1, 2]) await append(testEvent('n', n));
    const hold = await claimSink(db.pool, HERE, 'kafka');
    const [bad] = await readOutbox(db.pool, hold, 1);
    if (bad === undefined) throw new Error('nothing was read');
    const { hold: end } = await drain(await buryEvent(db.pool, hold, bad, 'too large'));
    await db.pool.query(letters);
    expect((await drain(end)).ids).toEqual([bad.event.id]);
    await db.pool.query(anew);
    await expect(readOutbox(db.pool, end, 1)).rejects.toMatchObject({ code: 'AttemptFenced' });
    const all = await drain(await claimSink(db.pool, HERE, 'kafka'));
    expect(all.ids).toEqual([2, 1].map((n) => testEvent('n', n).id));
  });

  test('tells what waits for it, and since when it is away', async () => {
    for (const n of [1, 2, 3]) await append(testEvent('n', n));
    await db.pool.query(`UPDATE outbox SET created_at = now() - interval '1 minute'`);
    const hold = await claimSink(db.pool, HERE, 'kafka');
    await noteAway(db.pool, hold, 'refused');
    const [away] = await sinkLags(db.pool, HERE);
    expect(away).toMatchObject({ sink: 'kafka', waiting: 3, awayReason: 'refused' });
    expect(away?.age).toBeGreaterThanOrEqual(60);
    await drain(hold);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 0, age: 0, sent: 3, awaySince: null }]);
  });

  test('sends all that is kept again once the database was restored elsewhere', async () => {
    for (const n of [1, 2]) await append(testEvent('n', n));
    await drain(await claimSink(db.pool, HERE, 'kafka'));
    // As a dump brings it to a server whose transactions have lower numbers.
    await db.pool.query(`UPDATE outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8`);
    await db.pool.query(`UPDATE event_sinks SET xid = (xid::text::bigint + 1000000000)::text::xid8`);
    await append(testEvent('n', 3));
    const ids = [1, 2, 3].map((n) => testEvent('n', n).id);
    expect((await drain(await claimSink(db.pool, HERE, 'kafka'))).ids).toEqual(ids);
    expect((await drain(await claimSink(db.pool, HERE, 'sqs'))).ids).toEqual(ids);
  });
});

describe('two installations in one database', () => {
  const THERE = 'other';
  const both = [HERE, THERE];
  const eventOf = (installation: string, n = 1) => testEvent(`of-${installation}`, n);
  const appendEach = async (n?: number) => {
    for (const each of both) await append(eventOf(each, n), each);
  };

  test('each send their own events, from places of their own, and fence nobody else', async () => {
    await appendEach();
    const here = await claimSink(db.pool, HERE, 'kafka');
    const there = await claimSink(db.pool, THERE, 'kafka');
    const { ids, hold } = await drain(here);
    expect(ids).toEqual([eventOf(HERE).id]);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 0, sent: 1 }]);
    expect(await sinkLags(db.pool, THERE)).toMatchObject([{ waiting: 1, sent: 0, awaySince: null }]);
    await noteAway(db.pool, hold, 'gone');
    await noteRefusal(db.pool, hold);
    expect(await sinkLags(db.pool, THERE)).toMatchObject([{ awaySince: null }]);
    expect((await drain(there)).ids).toEqual([eventOf(THERE).id]);
    expect((await claimSink(db.pool, THERE, 'kafka')).refusals).toBe(0);
  });

  test('lay aside, and count what they laid aside, each for itself, even under one id', async () => {
    for (const each of both) {
      await append(testEvent('n'), each);
      const hold = await claimSink(db.pool, each, 'webhook');
      const [bad] = await readOutbox(db.pool, hold, 1);
      if (bad === undefined) throw new Error('nothing was read');
      await buryEvent(db.pool, hold, bad, `refused by ${each}`);
    }
    for (const each of both) expect(await sinkLags(db.pool, each)).toMatchObject([{ dead: 1 }]);
  });

  test('remove what they need no more, and not what the other waits for or keeps', async () => {
    await appendEach();
    await db.pool.query(`UPDATE outbox SET created_at = now() - interval '8 days'`);
    const waiting = await claimSink(db.pool, THERE, 'kafka');
    expect(await pruneOutbox(db.pool, HERE, 0)).toBe(1);
    expect(await pruneOutbox(db.pool, THERE, 0)).toBe(0);
    expect(await idsOf(waiting)).toEqual([eventOf(THERE).id]);
  });

  test('begin anew each for itself', async () => {
    await appendEach();
    const there = await claimSink(db.pool, THERE, 'kafka');
    await drain(await claimSink(db.pool, HERE, 'kafka'));
    await db.pool.query(
      `UPDATE event_sinks SET xid = (xid::text::bigint + 1000000000)::text::xid8 WHERE installation = $1`,
      [HERE],
    );
    expect((await drain(await claimSink(db.pool, HERE, 'kafka'))).ids).toEqual([eventOf(HERE).id]);
    expect((await drain(there)).ids).toEqual([eventOf(THERE).id]);
  });
});

describe('what is kept', () => {
  const DAY = 24 * 3600 * 1000;
  const age = (interval: string) =>
    db.pool.query(`UPDATE outbox SET created_at = now() - interval '${interval}'`);
  const left = async () => (await db.pool.query('SELECT FROM outbox')).rowCount;

  test('is what is young, and what a sink has not had', async () => {
    for (const n of [1, 2, 3]) await append(testEvent('n', n));
    const behind = await claimSink(db.pool, HERE, 'kafka');
    await drain(await claimSink(db.pool, HERE, 'sqs'));
    expect(await pruneOutbox(db.pool, HERE, DAY)).toBe(0);
    await age('2 days');
    expect(await pruneOutbox(db.pool, HERE, DAY)).toBe(0);
    const [first] = await readOutbox(db.pool, behind, 1);
    if (first === undefined) throw new Error('nothing was read');
    await advanceSink(db.pool, behind, first, 1);
    expect(await pruneOutbox(db.pool, HERE, DAY)).toBe(1);
    expect(await left()).toBe(2);
  });

  test('is nothing old where there is no sink, or only one that is gone for good', async () => {
    await append(testEvent('n'));
    await age('8 days');
    expect(await pruneOutbox(db.pool, HERE, 7 * DAY)).toBe(1);
    await claimSink(db.pool, HERE, 'kafka');
    await append(testEvent('n', 2));
    await age('8 days');
    expect(await pruneOutbox(db.pool, HERE, 7 * DAY)).toBe(0);
    await db.pool.query(`UPDATE event_sinks SET updated_at = now() - interval '31 days'`);
    expect(await pruneOutbox(db.pool, HERE, 7 * DAY)).toBe(1);
  });
});

describe('ends', () => {
  const events = async () => {
    const { rows } = await db.pool.query<{ event: CloudEvent }>('SELECT event FROM outbox ORDER BY xid, no');
    return rows.map(({ event }) => event);
  };
  const report = (change: Partial<UploadReport> = {}) =>
    reportUpload(db.pool, 'inst', completedReport('a', change));

  test('of an upload are told once, however often they are reported', async () => {
    await report({ sequence: 1, state: 'UPLOADING', result: undefined as never });
    expect(await events()).toEqual([]);
    await report();
    await report();
    await report({ sequence: 2, state: 'FAILED' });
    const told = await events();
    expect(told).toMatchObject([{ type: 'upload.completed', subject: 'a', data: { etag: '"e"', size: 5 } }]);
    expect(told.flatMap(faultsOf)).toEqual([]);
  });

  test('of two writers at once are told once', async () => {
    const pools = [db.pool, db.another(), db.another()];
    await Promise.all(pools.map((pool) => reportUpload(pool, 'inst', completedReport('a'))));
    expect(await events()).toHaveLength(1);
  });

  test('of each run are told', async () => {
    const failure = { code: 'S3Unavailable', message: 'a\0b \ud800', hint: 'wait' } as const;
    await report({ state: 'FAILED', failure, result: undefined as never });
    await report({ runId: 'run-2', runStartedAt: '2026-01-02T00:00:00.000Z', sequence: 1 });
    const told = await events();
    expect(told.map(({ type }) => type)).toEqual(['upload.failed', 'upload.completed']);
    expect(told[0]?.data.failure?.message).toBe('a\uFFFDb \uFFFD');
  });

  test('of a session are those of its node', async () => {
    await db.pool.query(
      `INSERT INTO sessions (id, node_id, connector_id, name, content_type, bucket, key, mode, chunk_size, generation,
         run_started_at, run_generation, nonce, open, ttl_ms)
       VALUES ('a', 'node', 'crm', 'x.bin', 'text/plain', 'b', 'k', 'chunks', 5, 1, now(), 1, 'n', true, 1000)`,
    );
    const failure = { code: 'SessionExpired', message: 'nobody came', hint: 'again' } as const;
    const source = { kind: 'client', label: 'client:x.bin' } as const;
    const { result: _, ...rest } = completedReport('a');
    await reportUpload(db.pool, 'inst', { ...rest, state: 'EXPIRED', source, failure });
    const told = await events();
    expect(told).toMatchObject([{ type: 'upload.expired', subject: 'node' }]);
    expect(told[0]?.data).toMatchObject({ upload_id: 'a', connector_id: 'crm', name: 'x.bin' });
    expect(told.flatMap(faultsOf)).toEqual([]);
  });

  test('of what makes a node anew are those of the node', async () => {
    await report({ nodeId: 'node' });
    expect(await events()).toMatchObject([{ type: 'upload.completed', subject: 'node' }]);
  });

  test('of a job are told once, with its counts', async () => {
    const definition: JobDefinition = {
      source: { root: 'files', path: 'x' },
      sourceFolder: '/x',
      destination: { bucket: 'b', prefix: 'p/' },
      ...{ filter: {}, objects: {}, monitor: { enabled: false }, compare: 'mtime', verify: false },
    };
    const open = { id: 'j', workflowId: 'job/j', definition, fingerprint: 'f' };
    await insertJob(db.pool, 'inst', open);
    const ref = await openJob(db.pool, 'inst', { ...open, mode: 'first', runId: 'r1' });
    for (let times = 0; times < 2; times += 1) await finishJob(db.pool, ref, { state: 'COMPLETED' });
    const told = await events();
    expect(told).toMatchObject([{ id: 'job/j/r1/job.completed', subject: 'j', data: { prefix: 'p/' } }]);
    expect(told.flatMap(faultsOf)).toEqual([]);
  });
});
