/** The metrics of one process, for Prometheus to read. Names, units and labels are in docs/operations.md. */
import { ValueType, type Attributes, type Histogram, type Meter } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { KiB, MiB } from '../../core/limits.js';
import { eventMeter, observeOutbox } from './event-metrics.js';
import type { ActivityMeter, EventMeter, Gauges, HttpMeter, StoreMeter } from './meter.js';
import { observeProcess } from './process-metrics.js';
import { scrub } from './scrub.js';

export interface Metrics {
  store: StoreMeter;
  activities: ActivityMeter;
  http: HttpMeter;
  events: EventMeter;
  observe(gauges: Gauges): void;
  /** In Prometheus's text format. */
  text(): Promise<string>;
  close(): Promise<void>;
}

const SECONDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const SIZES = [
  KiB,
  16 * KiB,
  64 * KiB,
  256 * KiB,
  MiB,
  4 * MiB,
  8 * MiB,
  16 * MiB,
  64 * MiB,
  256 * MiB,
  1024 * MiB,
];
/** The catalog is asked at most this often, however many read the metrics. */
const ACTIVE_FOR_MS = 10_000;
const COLLECT_MS = 3_000;

export function createMetrics(): Metrics {
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const serializer = new PrometheusSerializer('', false, undefined, true, true);
  const provider = new MeterProvider({ readers: [exporter] });
  const meter = provider.getMeter('longshore');
  observeProcess(meter);
  return {
    store: storeMeter(meter),
    activities: activityMeter(meter),
    http: httpMeter(meter),
    events: eventMeter(meter),
    observe: (gauges) => observeGauges(meter, gauges),
    text: async () => {
      const { resourceMetrics, errors } = await exporter.collect({ timeoutMillis: COLLECT_MS });
      // What could not be had is missing from the figures, and says so.
      return serializer.serialize(resourceMetrics) + errors.map(commentOf).join('');
    },
    close: () => provider.shutdown(),
  };
}

function durations(meter: Meter, name: string, description: string): Histogram {
  const advice = { explicitBucketBoundaries: SECONDS };
  return meter.createHistogram(name, { description, unit: 's', advice });
}

function storeMeter(meter: Meter): StoreMeter {
  const sent = meter.createCounter('longshore_sent_bytes_total', {
    description: 'Bytes of bodies that S3 took',
    valueType: ValueType.INT,
  });
  const seconds = durations(meter, 'longshore_s3_request_duration_seconds', 'Requests to S3, each try');
  const size = meter.createHistogram('longshore_s3_body_bytes', {
    description: 'Sizes of parts and objects that S3 took',
    advice: { explicitBucketBoundaries: SIZES },
    valueType: ValueType.INT,
  });
  const failed = meter.createCounter('longshore_s3_errors_total', {
    description: 'Requests to S3 that failed, each try, by the code of the error',
  });
  const byOp = labels((op: string) => ({ op }));
  return {
    request(op, outcome, took, bytes) {
      const attributes = byOp(op);
      seconds.record(took, attributes);
      if (outcome !== 'ok') return failed.add(1, { op, code: outcome });
      if (bytes === 0) return;
      sent.add(bytes, attributes);
      size.record(bytes, attributes);
    },
  };
}

function activityMeter(meter: Meter): ActivityMeter {
  const waiting = durations(
    meter,
    'longshore_queue_lag_seconds',
    'From when a task could be taken until it was',
  );
  const seconds = durations(meter, 'longshore_activity_duration_seconds', 'Attempts of activities');
  const retries = meter.createCounter('longshore_activity_retries_total', {
    description: 'Attempts after the first',
  });
  const errors = meter.createCounter('longshore_errors_total', {
    description: 'Attempts of activities that failed, by the code of the error',
  });
  const running = meter.createUpDownCounter('longshore_activities_running', { description: 'At work now' });
  const objects = meter.createCounter('longshore_objects_total', {
    description: 'Objects that are in the bucket, or failed for good, by the way they went',
  });
  const byActivity = labels((activity: string) => ({ activity }));
  const byQueue = labels((queue: string) => ({ queue }));
  return {
    began(activity, queue, attempt, waited) {
      running.add(1, byActivity(activity));
      waiting.record(waited, byQueue(queue));
      if (attempt > 1) retries.add(1, byActivity(activity));
    },
    ended(activity, outcome, took) {
      running.add(-1, byActivity(activity));
      seconds.record(took, byActivity(activity));
      if (outcome !== 'ok') errors.add(1, { activity, code: outcome });
    },
    moved(way, uploaded, failed) {
      if (uploaded > 0) objects.add(uploaded, { way, outcome: 'uploaded' });
      if (failed > 0) objects.add(failed, { way, outcome: 'failed' });
    },
  };
}

function httpMeter(meter: Meter): HttpMeter {
  const seconds = durations(meter, 'longshore_http_request_duration_seconds', 'Requests to the API');
  return {
    request: (method, route, status, took) =>
      seconds.record(took, { method, route, status: `${Math.floor(status / 100)}xx` }),
  };
}

function observeGauges(meter: Meter, { store, active, outbox }: Gauges): void {
  if (outbox !== undefined) observeOutbox(meter, atMostEvery(ACTIVE_FOR_MS, outbox));
  if (store !== undefined) {
    const gauges: [string, string, () => number][] = [
      ['longshore_s3_concurrency_limit', 'Requests with bodies that may be in flight', () => store.limit],
      ['longshore_s3_in_flight', 'Requests with bodies that are in flight', () => store.active],
      ['longshore_s3_waiting', 'Requests with bodies that wait for room', () => store.waiting],
    ];
    for (const [name, description, value] of gauges) {
      meter.createObservableGauge(name, { description }).addCallback((result) => result.observe(value()));
    }
  }
  if (active !== undefined) {
    const seldom = atMostEvery(ACTIVE_FOR_MS, active);
    meter
      .createObservableGauge('longshore_active', {
        description: 'Jobs and uploads that have not ended, by state',
      })
      .addCallback(async (result) => {
        for (const { count, ...attributes } of await seldom()) result.observe(count, attributes);
      });
  }
}

function commentOf(error: unknown): string {
  return `# ${scrub(String(error)).replaceAll('\n', ' ')}\n`;
}

/** A failure is not kept. */
function atMostEvery<T>(ms: number, read: () => Promise<T>): () => Promise<T> {
  let last: { at: number; answer: Promise<T> } | undefined;
  return () => {
    const now = performance.now();
    if (last !== undefined && now - last.at < ms) return last.answer;
    const asked = { at: now, answer: read() };
    last = asked;
    asked.answer.catch(() => {
      if (last === asked) last = undefined;
    });
    return asked.answer;
  };
}

/** The same object for the same label: hot paths make none. */
function labels(make: (value: string) => Attributes): (value: string) => Attributes {
  const known = new Map<string, Attributes>();
  return (value) => {
    const found = known.get(value);
    if (found !== undefined) return found;
    const made = make(value);
    known.set(value, made);
    return made;
  };
}
