/** `longshore events`: what Longshore tells others. `tail` follows it on Kafka, `sinks` shows how far each sink is. */
import { EXIT, LongshoreError } from '../../../core/errors.js';
import { EVENT_TYPES, type CloudEvent, type EventType } from '../../../core/events.js';
import { sinkLags, type SinkLag } from '../../../infra/catalog/outbox.js';
import type { Config } from '../../../infra/config.js';
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure, withCatalog } from '../session.js';
import { bytes, duration, grouped, localTime, plural, table } from '../text.js';

export interface EventsOptions extends Connections {
  fromBeginning?: boolean;
  type?: string[];
  max?: string;
}

export async function run(io: Io, options: EventsOptions, action: string): Promise<number> {
  if (action === 'tail') return await tail(io, options, configure(io, options));
  if (action === 'sinks') return await sinks(io, configure(io, options));
  throw badUsage(`events takes tail or sinks, not ${JSON.stringify(action)}`);
}

async function tail(io: Io, options: EventsOptions, { events: { kafka } }: Config): Promise<number> {
  const types = options.type?.map(typeOf);
  const most = options.max === undefined ? Infinity : count('--max', options.max);
  if (kafka === undefined) {
    throw new LongshoreError('InvalidConfig', 'no Kafka is configured to read events from', {
      op: 'events',
      hint: 'Set LONGSHORE_EVENTS_KAFKA_BROKERS to host:port of a broker.',
    });
  }
  const { tailEvents } = await import('../../../infra/events/tail.js');
  const interrupts = new Interrupts();
  interrupts.arm({});
  let shown = 0;
  try {
    await tailEvents(
      kafka,
      {
        fromBeginning: options.fromBeginning === true,
        signal: interrupts.signal,
        onReady: () => io.err(`Events of ${kafka.topic}; Ctrl-C ends.`),
        onOther: (offset) => io.err(`What is at ${kafka.topic} ${offset} is no event of Longshore's.`),
      },
      (event) => {
        if (types?.includes(event.type) === false) return true;
        if (io.json) io.outJson(event);
        else io.out(line(event));
        shown += 1;
        return shown < most;
      },
    );
  } finally {
    interrupts.release();
  }
  return EXIT.ok;
}

function typeOf(text: string): EventType {
  const type = EVENT_TYPES.find((known) => known === text);
  if (type !== undefined) return type;
  throw badUsage(`--type takes ${EVENT_TYPES.join(', ')}, not ${JSON.stringify(text)}`);
}

/** `2026-11-21 12:04:31  upload.completed  ID  s3://bucket/key, 636.0 MiB` */
function line({ time, type, subject, data }: CloudEvent): string {
  return [localTime(time), type.padEnd(WIDTH), subject, about(data)].join('  ');
}

const WIDTH = Math.max(...EVENT_TYPES.map((type) => type.length));

function about(data: CloudEvent['data']): string {
  const why = data.failure === null ? '' : ` (${data.failure.code})`;
  if ('upload_id' in data) {
    const size = data.size === null ? '' : `, ${bytes(data.size)}`;
    return `s3://${data.bucket}/${data.key}${size}${why}`;
  }
  const { completed_files: completed, failed_files: failed } = data.counts;
  const failures = failed === 0 ? '' : `, ${grouped(failed)} failed`;
  return `s3://${data.bucket}/${data.prefix}, ${plural(completed, 'file')}${failures}${why}`;
}

async function sinks(io: Io, config: Config): Promise<number> {
  const lags = await withCatalog(config, (db) => sinkLags(db, config.installation));
  if (io.json) {
    io.outJson({ sinks: lags });
    return EXIT.ok;
  }
  if (lags.length === 0) io.err('No sink has had a relay yet. Next: set LONGSHORE_EVENTS_… on the workers.');
  else for (const each of table(HEAD, lags.map(cells))) io.out(each);
  return EXIT.ok;
}

const HEAD = ['SINK', 'STATE', 'SENT', 'WAITING', 'FOR', 'LAID ASIDE', 'WHY'];

function cells({ sink, awaySince, sent, waiting, age, dead, awayReason }: SinkLag): string[] {
  return [
    ...[sink, awaySince === null ? 'reached' : 'away', grouped(sent), grouped(waiting)],
    ...[waiting === 0 ? '-' : duration(age), grouped(dead), awayReason ?? '-'],
  ];
}
