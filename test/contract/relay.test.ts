/** The relay's activity on a real outbox, with a sink that does what the test wants. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRelayActivities, type RelayPace } from '../../src/activities/relay.js';
import { LongshoreError } from '../../src/core/errors.js';
import type { CloudEvent, RelayAnswer, SinkName } from '../../src/core/events.js';
import { migrate } from '../../src/infra/catalog/migrations.js';
import { appendEvent, claimSink, sinkLags } from '../../src/infra/catalog/outbox.js';
import type { EventPublisher, Published } from '../../src/infra/events/publisher.js';
import { testEvent, untilReadable } from '../helpers/events.js';
import { testSchema, type TestSchema } from '../helpers/postgres.js';
import { quietTemporal } from '../helpers/quiet.js';
import { eventually } from '../helpers/wait.js';

const HERE = 'here';

let db: TestSchema;
beforeAll(quietTemporal);
beforeEach(async () => {
  db = await testSchema();
  await migrate(db.pool);
});
afterEach(() => db.drop());

const DAY = 24 * 3600 * 1000;
const away = new LongshoreError('SinkUnavailable', 'nobody is there', { op: 'publish' });
const refusal = new LongshoreError('EventRefused', 'too large', { op: 'publish' });

type Answer = (events: readonly CloudEvent[]) => Published | Promise<Published>;
const takesAll: Answer = (events) => ({ accepted: events.length });

/** What the sink is asked and has taken, and what is logged of it. */
class Scene {
  readonly taken: CloudEvent[] = [];
  readonly asked: number[] = [];
  /** How many events each time. */
  readonly offered: number[] = [];
  readonly logged: string[] = [];
  readonly counted = { sent: 0, dead: 0, failed: [] as string[] };
  closed = 0;
  answer: Answer = takesAll;
  stopping = new AbortController();
  readonly #environment = new MockActivityEnvironment({ heartbeatTimeoutMs: 60_000 });

  async run(pace: Partial<RelayPace> = {}, sink: SinkName = 'kafka'): Promise<RelayAnswer> {
    const write = (_fields: unknown, message?: string): void => void this.logged.push(message ?? '');
    const { relayEvents } = createRelayActivities({
      db: db.pool,
      installation: HERE,
      sinks: new Map([['kafka', () => this.#publisher()]]),
      keepMs: DAY,
      log: { info: write, warn: write, error: write } as never,
      meter: {
        sent: (_sink, count) => void (this.counted.sent += count),
        dead: () => void (this.counted.dead += 1),
        failed: (_sink, code) => void this.counted.failed.push(code),
      },
      stopping: this.stopping.signal,
      pace: { goMs: 60_000, pollMs: 20, firstWaitMs: 10, longestWaitMs: 200, ...pace },
    });
    return await this.#environment.run(relayEvents, { sink });
  }

  /** A go that is told to stop once something has come about. */
  async runUntil(what: () => boolean | Promise<boolean>, pace?: Partial<RelayPace>): Promise<RelayAnswer> {
    this.stopping = new AbortController();
    const going = this.run(pace);
    try {
      await eventually(what, { timeout: 30_000 });
    } finally {
      this.stopping.abort();
    }
    return await going;
  }

  cancel(): void {
    this.#environment.cancel();
  }

  #publisher(): EventPublisher {
    return {
      sink: 'kafka',
      publish: async (events) => {
        this.asked.push(performance.now());
        this.offered.push(events.length);
        const published = await this.answer(events);
        this.taken.push(...events.slice(0, published.accepted));
        return published;
      },
      close: () => Promise.resolve(void (this.closed += 1)),
    };
  }
}

const fill = async (count: number, from = 0): Promise<string[]> => {
  const events = Array.from({ length: count }, (_, n) => testEvent('n', from + n));
  for (const event of events) await appendEvent(db.pool, HERE, event);
  return events.map(({ id }) => id);
};
async function refusals(): Promise<number> {
  const { rows } = await db.pool.query<{ refusals: number }>('SELECT refusals FROM event_sinks');
  return rows[0]?.refusals ?? 0;
}

const ids = (events: readonly CloudEvent[]): string[] => events.map(({ id }) => id);

describe('a go of the relay', () => {
  it('sends what is there and what comes, each once and in order, until it is over', async () => {
    const scene = new Scene();
    const first = await fill(5);
    const second: string[] = [];
    const all = async (): Promise<boolean> => {
      if (scene.taken.length === 5 && second.length === 0) second.push(...(await fill(2, 5)));
      return scene.taken.length === 7;
    };
    expect(await scene.runUntil(all, { batch: 2 })).toEqual({ known: true, sent: 7, dead: 0 });
    expect(ids(scene.taken)).toEqual([...first, ...second]);
    expect(scene.counted.sent).toBe(7);
    expect(scene.closed).toBe(1);
    // The next go has nothing left to do.
    scene.stopping = new AbortController();
    expect(await scene.run({ goMs: 100 })).toEqual({ known: true, sent: 0, dead: 0 });
  });

  it('ends early when its worker stops, or when it is cancelled', async () => {
    for (const end of [(scene: Scene) => scene.stopping.abort(), (scene: Scene) => scene.cancel()]) {
      const scene = new Scene();
      const going = scene.run();
      await eventually(async () => (await sinkLags(db.pool, HERE)).length === 1);
      end(scene);
      await going;
      expect(scene.closed).toBe(1);
    }
  }, 20_000);

  it('is left to another worker by one that is stopping', async () => {
    const scene = new Scene();
    scene.stopping.abort();
    await expect(scene.run()).rejects.toMatchObject({ type: 'AttemptFenced', nonRetryable: false });
  });

  it('says so when its worker has no such sink', async () => {
    expect(await new Scene().run({}, 'sqs')).toEqual({ known: false, sent: 0, dead: 0 });
    expect(await sinkLags(db.pool, HERE)).toEqual([]);
  });
});

describe('a sink that is away', () => {
  it('is asked ever more seldom, and has everything when it is back', async () => {
    const scene = new Scene();
    const all = await fill(3);
    let back = false;
    scene.answer = (events) => (back ? { accepted: events.length } : { accepted: 0, failure: away });
    const whole = async (): Promise<boolean> => {
      if (scene.asked.length >= 6 && !back) {
        expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 3, awayReason: 'nobody is there' }]);
        back = true;
      }
      return scene.taken.length === 3;
    };
    expect(await scene.runUntil(whole, { firstWaitMs: 50, longestWaitMs: 400 })).toMatchObject({ sent: 3 });
    const waits = scene.asked.slice(1).map((at, index) => at - (scene.asked[index] ?? 0));
    // 50, 100, 200, 400, 400 ms, and more on a busy machine.
    expect(waits[0]).toBeGreaterThanOrEqual(45);
    expect(waits[2]).toBeGreaterThanOrEqual(190);
    expect(waits[4]).toBeGreaterThanOrEqual(390);
    expect(ids(scene.taken)).toEqual(all);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 0, awaySince: null }]);
    expect(scene.logged).toEqual(['a sink of events is away; they wait', 'the sink of events is back']);
    expect(new Set(scene.counted.failed)).toEqual(new Set(['SinkUnavailable']));
  });

  it('keeps what it has taken of a batch, and is asked with the next one alone', async () => {
    const scene = new Scene();
    const all = await fill(7);
    await untilReadable(db.pool, all.length);
    scene.answer = (events) => {
      const times = scene.asked.length;
      if (times === 2) return { accepted: 3, failure: away };
      return times === 3 || times === 4 ? { accepted: 0, failure: away } : { accepted: events.length };
    };
    await scene.runUntil(() => scene.taken.length === all.length);
    expect(ids(scene.taken)).toEqual(all);
    // So is one that a go knows nothing of yet.
    expect(scene.offered).toEqual([1, 6, 1, 1, 1, 2]);
  });
});

describe('an event that the sink refuses', () => {
  it('is tried some times, laid aside, and those after it go on', async () => {
    const scene = new Scene();
    const all = await fill(5);
    const bad = all[2];
    scene.answer = (events) => {
      const at = events.findIndex(({ id }) => id === bad);
      return at === -1 ? { accepted: events.length } : { accepted: at, failure: refusal };
    };
    const past = (): boolean => scene.taken.length === 4;
    expect(await scene.runUntil(past, { mostRefusals: 4 })).toEqual({ known: true, sent: 4, dead: 1 });
    expect(ids(scene.taken)).toEqual(all.filter((id) => id !== bad));
    expect(scene.counted).toMatchObject({ dead: 1, failed: Array(4).fill('EventRefused') });
    expect(scene.logged).toEqual(['an event is laid aside: its sink refuses it']);
    const { rows } = await db.pool.query('SELECT event_id, reason FROM event_dead_letters');
    expect(rows).toEqual([{ event_id: bad, reason: 'too large' }]);
  });

  it('has no more tries because the relay began again', async () => {
    const scene = new Scene();
    await fill(1);
    scene.answer = () => ({ accepted: 0, failure: refusal });
    // Each go is stopped while it waits after its try.
    for (let go = 1; go <= 3; go += 1) {
      const tried = async (): Promise<boolean> => (await refusals()) === go;
      await scene.runUntil(tried, { mostRefusals: 4, firstWaitMs: 30_000, longestWaitMs: 30_000 });
    }
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ dead: 0, waiting: 1 }]);
    await scene.runUntil(() => scene.counted.dead === 1, { mostRefusals: 4 });
    expect(scene.asked).toHaveLength(4);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ dead: 1, waiting: 0 }]);
  });
});

describe('a sink that refuses whatever it is sent', () => {
  it('has some of it laid aside, is waited for with the rest, and counts anew once it takes something', async () => {
    const scene = new Scene();
    const all = await fill(4);
    let mended = false;
    scene.answer = (events) => (mended ? { accepted: events.length } : { accepted: 0, failure: refusal });
    const pace = { mostRefusals: 1, mostLaidAside: 2 };
    const isWaitedFor = async (): Promise<boolean> => {
      const [lag] = await sinkLags(db.pool, HERE);
      return scene.counted.dead >= 2 && typeof lag?.awaySince === 'string' && scene.asked.length >= 6;
    };
    await scene.runUntil(isWaitedFor, pace);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([
      { dead: 2, waiting: 2, awayReason: 'too large; it refused the 2 events before too, so this one waits' },
    ]);
    // Neither does a relay that begins again lay them aside.
    await scene.runUntil(() => scene.asked.length >= 9, pace);
    expect(scene.counted.dead).toBe(2);
    mended = true;
    await scene.runUntil(() => scene.taken.length === 2, pace);
    expect(ids(scene.taken)).toEqual(all.slice(2));
    mended = false;
    await fill(1, 4);
    await scene.runUntil(() => scene.counted.dead === 3, pace);
  });
});

describe('a relay that was overtaken', () => {
  it('stops with its next step, and leaves the cursor to the other', async () => {
    const scene = new Scene();
    const all = await fill(2);
    let claimed = false;
    scene.answer = async (events) => {
      // Another claims the sink while this one sends.
      if (!claimed) await claimSink(db.pool, HERE, 'kafka');
      claimed = true;
      return { accepted: events.length };
    };
    await expect(scene.run()).rejects.toMatchObject({ type: 'AttemptFenced', nonRetryable: false });
    expect(scene.closed).toBe(1);
    expect(await sinkLags(db.pool, HERE)).toMatchObject([{ waiting: 2, sent: 0 }]);
    // It comes back as the next attempt, and sends the same again.
    const sent = ids(scene.taken);
    await scene.runUntil(() => scene.taken.length === sent.length + 2);
    expect(sent).toEqual(all.slice(0, 1));
    expect(ids(scene.taken)).toEqual([...sent, ...all]);
  });
});
