/**
 * The relay of a sink: takes events from the outbox in their order and sends them, for as long as a go lasts. A sink that
 * is away holds up nothing but its own events: they wait in the catalog, and it is asked again ever more seldom.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../core/errors.js';
import type { RelayAnswer, RelayHeartbeat, RelayInput, SinkName } from '../core/events.js';
import {
  advanceSink,
  buryEvent,
  claimSink,
  noteAway,
  noteRefusal,
  pruneOutbox,
  readOutbox,
  type OutboxRow,
  type SinkHold,
} from '../infra/catalog/outbox.js';
import type { Pool } from '../infra/catalog/pool.js';
import type { EventPublisher } from '../infra/events/publisher.js';
import type { Logger } from '../infra/telemetry/log.js';
import type { EventMeter } from '../infra/telemetry/meter.js';
import { attempting, type Attempt } from './attempt.js';
import { mapFailures } from './failures.js';

export interface RelayActivities {
  /**
   * Sends what is there, and what comes, until its go is over. At least once: an attempt that died after it had sent leaves
   * the cursor where it was, and the next one sends the same under the same ids.
   */
  relayEvents(input: Pick<RelayInput, 'sink'>): Promise<RelayAnswer>;
}

export interface RelayDeps {
  db: Pool;
  /** Whose events it sends: others may be in the same database. */
  installation: string;
  sinks: ReadonlyMap<SinkName, () => EventPublisher>;
  /** Milliseconds that events are kept at least. */
  keepMs: number;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
  meter?: EventMeter | undefined;
  /** Aborted when the worker is told to stop: nobody waits for a go's end. */
  stopping: AbortSignal;
  pace?: Partial<RelayPace>;
}

export interface RelayPace {
  /** Milliseconds of one go; the workflow asks for the next. */
  goMs: number;
  /** Milliseconds between two looks at an empty outbox. */
  pollMs: number;
  /** Events that are read and sent together. */
  batch: number;
  /** Milliseconds of the first wait for a sink that is away, or that refuses; each next one is twice as long. */
  firstWaitMs: number;
  longestWaitMs: number;
  /** An event that is refused so often is laid aside. */
  mostRefusals: number;
  /** So many events in a row are laid aside; a sink that refuses the next one too has something against all of them. */
  mostLaidAside: number;
}

const PACE: RelayPace = {
  goMs: 600_000,
  pollMs: 500,
  batch: 200,
  firstWaitMs: 500,
  longestWaitMs: 30_000,
  mostRefusals: 5,
  mostLaidAside: 3,
};

export function createRelayActivities(deps: RelayDeps): RelayActivities {
  return mapFailures<RelayActivities>({
    relayEvents: async ({ sink }) => {
      const open = deps.sinks.get(sink);
      if (open === undefined) return { known: false, sent: 0, dead: 0 };
      if (deps.stopping.aborted) {
        throw new LongshoreError('AttemptFenced', 'this worker is stopping', {
          op: 'relayEvents',
          key: sink,
        });
      }
      const tally: RelayHeartbeat = { sent: 0, dead: 0 };
      await attempting(
        (attempt) => new Go(deps, { ...PACE, ...deps.pace }, sink, attempt, tally).run(open),
        () => tally,
      );
      return { known: true, sent: tally.sent, dead: tally.dead };
    },
  });
}

class Go {
  readonly #stop: AbortSignal;
  /** Times in a row that the sink was away. */
  #away = 0;
  /** The sink has taken all that it was last sent. What it did before this go is not known. */
  #takesAll = false;

  constructor(
    private readonly deps: RelayDeps,
    private readonly pace: RelayPace,
    private readonly sink: SinkName,
    private readonly attempt: Attempt,
    private readonly tally: RelayHeartbeat,
  ) {
    this.#stop = AbortSignal.any([attempt.stopSignal, deps.stopping]);
  }

  async run(open: () => EventPublisher): Promise<void> {
    const { deps, pace, attempt } = this;
    await pruneOutbox(deps.db, deps.installation, deps.keepMs);
    const publisher = open();
    const end = performance.now() + pace.goMs;
    try {
      let hold = await claimSink(deps.db, deps.installation, this.sink);
      while (!this.#stop.aborted && performance.now() < end) {
        const rows = await readOutbox(deps.db, hold, pace.batch);
        if (rows.length === 0) await this.#pause(pace.pollMs);
        else hold = await this.#send(publisher, hold, rows);
      }
    } finally {
      await publisher.close();
    }
    // The result of an attempt that was paused, or overtaken, would count as that of a whole go.
    const reason: unknown = attempt.stopSignal.reason;
    if (attempt.pausedByOperator || reason instanceof LongshoreError) throw reason;
  }

  async #send(publisher: EventPublisher, before: SinkHold, rows: OutboxRow[]): Promise<SinkHold> {
    const { deps, attempt, sink } = this;
    attempt.fence();
    // Where the first one fails a sink may take others of its wave, and would have them again with every try.
    const offered = this.#takesAll ? rows : rows.slice(0, 1);
    const { accepted, failure } = await publisher.publish(
      offered.map(({ event }) => event),
      attempt.signal,
    );
    this.#takesAll = failure === undefined;
    const last = rows[accepted - 1];
    const hold = last === undefined ? before : await advanceSink(deps.db, before, last, accepted);
    if (accepted > 0) {
      this.tally.sent += accepted;
      deps.meter?.sent(sink, accepted);
      this.#back();
    }
    if (failure === undefined || attempt.signal.aborted) return hold;
    deps.meter?.failed(sink, failure.code);
    const row = rows[accepted];
    if (failure.code === 'EventRefused' && row !== undefined) return await this.#refused(hold, row, failure);
    await this.#waitForIt(hold, failure);
    return hold;
  }

  async #refused(hold: SinkHold, row: OutboxRow, failure: LongshoreError): Promise<SinkHold> {
    const { deps, sink, pace } = this;
    if (hold.laidAside >= pace.mostLaidAside) {
      await this.#waitForIt(hold, refusesAll(hold, failure));
      return hold;
    }
    const next = await noteRefusal(deps.db, hold);
    const { id, type, subject } = row.event;
    if (next.refusals < pace.mostRefusals) {
      await this.#pause(this.#wait(next.refusals));
      return next;
    }
    const laid = await buryEvent(deps.db, next, row, failure.message);
    this.tally.dead += 1;
    deps.meter?.dead(sink);
    deps.log.error(
      { err: failure, sink, event: id, type, subject },
      'an event is laid aside: its sink refuses it',
    );
    return laid;
  }

  async #waitForIt(hold: SinkHold, failure: LongshoreError): Promise<void> {
    const { deps, sink } = this;
    this.#away += 1;
    if (this.#away === 1) deps.log.warn({ err: failure, sink }, 'a sink of events is away; they wait');
    this.tally.away = failure.message;
    await noteAway(deps.db, hold, failure.message);
    await this.#pause(this.#wait(this.#away));
  }

  #back(): void {
    if (this.#away > 0) this.deps.log.info({ sink: this.sink }, 'the sink of events is back');
    this.#away = 0;
    delete this.tally.away;
  }

  /** Up to a quarter more, so that relays do not come back all at once. */
  #wait(times: number): number {
    const { firstWaitMs, longestWaitMs } = this.pace;
    return Math.min(longestWaitMs, firstWaitMs * 2 ** (times - 1)) * (1 + Math.random() / 4);
  }

  async #pause(ms: number): Promise<void> {
    const signal = this.#stop;
    if (signal.aborted) return;
    await sleep(ms, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** A receiver whose secret or schema is wrong says of each event what it would say of a bad one. */
function refusesAll({ sink, laidAside }: SinkHold, cause: LongshoreError): LongshoreError {
  const message = `${cause.message}; it refused the ${laidAside} events before too, so this one waits`;
  return new LongshoreError('SinkUnavailable', message, { op: 'relayEvents', key: sink, cause });
}
