import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { LongshoreError } from '../../src/core/errors.js';
import { loadConfig } from '../../src/infra/config.js';
import { metered } from '../../src/infra/s3/metered.js';
import { retrying } from '../../src/infra/s3/retrying.js';
import type { ObjectStore } from '../../src/infra/s3/store.js';
import type { StoreMeter } from '../../src/infra/telemetry/meter.js';
import { createMetrics } from '../../src/infra/telemetry/metrics.js';
import { RunIds } from '../../src/workflows/tracing.js';

const tmp = '/nowhere';
const never = new AbortController().signal;

/** The value of the sample whose line begins so. */
function sample(text: string, name: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

describe('metrics', () => {
  it('count requests to S3, their bytes and their errors', async () => {
    const metrics = createMetrics();
    metrics.store.request('UploadPart', 'ok', 0.2, 8 * 1024 * 1024);
    metrics.store.request('UploadPart', 'ok', 0.7, 8 * 1024 * 1024);
    metrics.store.request('UploadPart', 'SlowDown', 0.1, 8 * 1024 * 1024);
    metrics.store.request('HeadObject', 'ok', 0.001, 0);
    const text = await metrics.text();
    expect(sample(text, 'longshore_sent_bytes_total{op="UploadPart"}')).toBe(16 * 1024 * 1024);
    expect(sample(text, 'longshore_sent_bytes_total{op="HeadObject"}')).toBeUndefined();
    expect(sample(text, 'longshore_s3_errors_total{op="UploadPart",code="SlowDown"}')).toBe(1);
    const bucket = (le: string): number | undefined =>
      sample(text, `longshore_s3_request_duration_seconds_bucket{op="UploadPart",le="${le}"}`);
    expect([bucket('0.05'), bucket('0.25'), bucket('1'), bucket('+Inf')]).toEqual([0, 2, 3, 3]);
    expect(sample(text, 'longshore_s3_body_bytes_count{op="UploadPart"}')).toBe(2);
    await metrics.close();
  });

  it('count attempts, retries, what waits and what is at work', async () => {
    const metrics = createMetrics();
    const { activities } = metrics;
    activities.began('uploadFiles', 'transfer@inbox', 1, 0.4);
    activities.began('uploadFiles', 'transfer@inbox', 2, 3);
    activities.ended('uploadFiles', 'S3Unavailable', 5);
    activities.moved('batch', 480, 20);
    const text = await metrics.text();
    expect(sample(text, 'longshore_activities_running{activity="uploadFiles"}')).toBe(1);
    expect(sample(text, 'longshore_activity_retries_total{activity="uploadFiles"}')).toBe(1);
    expect(sample(text, 'longshore_errors_total{activity="uploadFiles",code="S3Unavailable"}')).toBe(1);
    expect(sample(text, 'longshore_queue_lag_seconds_count{queue="transfer@inbox"}')).toBe(2);
    expect(sample(text, 'longshore_objects_total{way="batch",outcome="uploaded"}')).toBe(480);
    expect(sample(text, 'longshore_objects_total{way="batch",outcome="failed"}')).toBe(20);
    await metrics.close();
  });

  it('ask for gauges when they are read, and the catalog seldom', async () => {
    const metrics = createMetrics();
    const store = { limit: 50, active: 3, waiting: 0 };
    let asked = 0;
    const active = async () => [{ kind: 'job' as const, state: 'IN_PROGRESS', count: ++asked }];
    metrics.observe({ store, active });
    await metrics.text();
    store.limit = 12.5;
    const text = await metrics.text();
    expect(sample(text, 'longshore_s3_concurrency_limit')).toBe(12.5);
    expect(sample(text, 'longshore_s3_in_flight')).toBe(3);
    expect(sample(text, 'longshore_active{kind="job",state="IN_PROGRESS"}')).toBe(1);
    expect(sample(text, 'process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
    await metrics.close();
  });

  it('are read though the catalog is away', async () => {
    const metrics = createMetrics();
    let away = true;
    const active = async () => {
      if (away) throw new LongshoreError('CatalogUnavailable', 'away', { op: 'count active' });
      return [{ kind: 'upload' as const, state: 'PENDING', count: 7 }];
    };
    metrics.observe({ active });
    metrics.store.request('PutObject', 'ok', 0.1, 5);
    const without = await metrics.text();
    expect(sample(without, 'longshore_sent_bytes_total{op="PutObject"}')).toBe(5);
    expect(without).toMatch(/^# .*away/m);
    away = false;
    expect(sample(await metrics.text(), 'longshore_active{kind="upload",state="PENDING"}')).toBe(7);
    await metrics.close();
  });
});

describe('a metered store', () => {
  it('tells each try, and not what was given up on our side', async () => {
    const told: string[] = [];
    const meter: StoreMeter = {
      request: (op, outcome, seconds, bytes) => told.push(`${op} ${outcome} ${bytes} ${seconds >= 0}`),
    };
    const down = new LongshoreError('S3Unavailable', 'away', { op: 'PutObject' });
    const stop = new AbortController();
    let tries = 0;
    const store = {
      putObject: async () => {
        if (++tries === 1) throw down;
        return { etag: '"e"', checksumAccepted: true };
      },
      headObject: async () => {
        stop.abort();
        throw down;
      },
      close: () => undefined,
    } as unknown as ObjectStore;
    const patient = retrying(metered(store, meter), { baseMs: 1 });
    await patient.putObject({ bucket: 'b', key: 'k', body: Buffer.alloc(9) }, never);
    await expect(patient.headObject({ bucket: 'b', key: 'k' }, stop.signal)).rejects.toBe(down);
    patient.close();
    expect(told).toEqual(['PutObject S3Unavailable 9 true', 'PutObject ok 9 true']);
  });
});

describe('traces', () => {
  const telemetry = (env: Record<string, string>) => {
    const { telemetry: read, warnings } = loadConfig({ env: { LONGSHORE_DATA_DIR: tmp, ...env }, cwd: tmp });
    return { traces: read.traces, warned: warnings.length > 0 };
  };

  it.each([
    ['nothing', {}, { traces: false, warned: false }],
    ['somewhere to go', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' }, { traces: true, warned: false }],
    ['the exporter', { OTEL_TRACES_EXPORTER: 'otlp' }, { traces: true, warned: false }],
    [
      'none of them',
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_TRACES_EXPORTER: 'none' },
      { traces: false, warned: false },
    ],
    [
      'nothing of OpenTelemetry',
      { OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'true' },
      { traces: false, warned: false },
    ],
    [
      'a protocol that is not spoken',
      { OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
      { traces: false, warned: true },
    ],
  ])('by %s', (_what, env, expected) => {
    expect(telemetry(env)).toEqual(expected);
  });
});

describe('ids of spans in workflows', () => {
  it('differ by run, are the same again, and take nothing of what workflow code takes', () => {
    const random = vi.spyOn(Math, 'random');
    const idsOf = (run: string): string[] => {
      const ids = new RunIds(() => run);
      return [ids.generateTraceId(), ...Array.from({ length: 5000 }, () => ids.generateSpanId())];
    };
    const [one, other] = [
      idsOf('01a1fe57-6a01-7144-9605-71fd245ff48b'),
      idsOf('01a1fe57-6a01-7144-9605-71fd245ff48c'),
    ];
    expect(random).not.toHaveBeenCalled();
    random.mockRestore();
    expect(idsOf('01a1fe57-6a01-7144-9605-71fd245ff48b')).toEqual(one);
    expect(new Set([...one, ...other]).size).toBe(10_002);
    expect(one[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(one[1]).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe('the Grafana dashboard', () => {
  interface Panel {
    id: number;
    type: string;
    targets?: { expr: string }[];
  }
  const text = readFileSync(new URL('../../deploy/grafana/longshore.json', import.meta.url), 'utf8');
  const { panels } = JSON.parse(text) as { panels: Panel[] };
  const asked = panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => namesIn(expr)));

  it('asks for metrics that there are, with labels that they have', async () => {
    const metrics = createMetrics();
    metrics.store.request('PutObject', 'ok', 1, 1);
    metrics.store.request('PutObject', 'SlowDown', 1, 1);
    metrics.activities.began('putObject', 'transfer', 2, 1);
    metrics.activities.ended('putObject', 'SlowDown', 1);
    metrics.activities.moved('put', 1, 1);
    metrics.http.request('GET', '/health', 200, 0.1);
    const active = async () => [{ kind: 'job' as const, state: 'PENDING', count: 1 }];
    metrics.observe({ store: { limit: 1, active: 0, waiting: 0 }, active });
    const told = (await metrics.text()).split('\n').filter((line) => !line.startsWith('#'));
    await metrics.close();
    const names = new Set(told.map((line) => line.split(/[{ ]/)[0]));
    const ours = asked.filter((name) => !name.startsWith('temporal_'));
    expect(ours.filter((name) => !names.has(name))).toEqual([]);
    const shown = new Set(ours.map((name) => name.replace(/_(bucket|count)$/, '')));
    const families = [...names].map((name) => (name ?? '').replace(/_(bucket|count|sum)$/, ''));
    expect(families.filter((name) => name !== '' && !shown.has(name))).toEqual([]);
  });

  it('has panels that can be told apart', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });
});

function namesIn(expression: string): string[] {
  return [...expression.matchAll(/\b((?:longshore|process|nodejs|temporal)_\w+)/g)].map(
    ([, name = '']) => name,
  );
}
