/** Metrics and traces as an operator meets them: at the health port of a worker, and at a collector. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { DefaultLogger, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { MiB } from '../../src/core/limits.js';
import { historyFromText, historyToText } from '../helpers/histories.js';
import { startOtlpCollector, type OtlpCollector } from '../helpers/otlp-collector.js';
import { lastJson, longshore, startWorker, type Surroundings } from '../helpers/processes.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { workflowBundle } from '../helpers/temporal.js';
import { eventually } from '../helpers/wait.js';

const HISTORIES = new URL('../replay/histories/', import.meta.url);

let rig: Rig;
let collector: OtlpCollector;
let traced: { code: string };

beforeAll(async () => {
  // A replay has nowhere to send spans to, and would say so for each.
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) });
  await promisify(execFile)(process.execPath, ['scripts/build.mjs', '--traced-only']);
  traced = { code: await readFile(new URL('../../dist/workflows-traced.js', import.meta.url), 'utf8') };
  [rig, collector] = await Promise.all([startRig({ worker: false }), startOtlpCollector()]);
}, 120_000);

afterAll(async () => {
  await collector.close();
  await rig.close();
});

/** The rig's surroundings with more in the environment. */
function withEnv(more: Record<string, string>): Surroundings {
  return { ...rig.surroundings, env: { ...rig.surroundings.env, ...more } };
}

async function metricsOf(worker: { stderr: string }): Promise<string> {
  const port = /"health":(\d+)/.exec(worker.stderr)?.[1];
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return await response.text();
}

function sample(text: string, name: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

async function put(surroundings: Surroundings, path: string, target: string): Promise<string> {
  const { code, stdout, stderr } = await longshore(['put', '--json', path, target], surroundings);
  expect(`${code} ${stderr}`).toMatch(/^0/);
  return String(lastJson(stdout)['id']);
}

async function replay(
  workflowBundle: WorkflowBundle,
  texts: [string, string][],
): Promise<Record<string, string>> {
  const runs = texts.map(([workflowId, text]) => ({ workflowId, history: historyFromText(text) }));
  const outcomes: Record<string, string> = {};
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowBundle }, runs)) {
    outcomes[workflowId] = error === undefined ? 'replayed' : String(error);
  }
  return outcomes;
}

describe('the metrics of a worker', () => {
  it('say what was sent, and name nothing that people chose', async () => {
    const worker = await startWorker(withEnv({ LONGSHORE_HEALTH_PORT: '0' }));
    const [file, bucket] = await Promise.all([rig.file(20 * MiB), rig.bucket()]);
    const id = await put(rig.surroundings, file.path, `s3://${bucket.name}/a-key-of-ours`);
    const text = await metricsOf(worker);
    expect(sample(text, 'longshore_sent_bytes_total{op="UploadPart"}')).toBe(20 * MiB);
    expect(sample(text, 'longshore_s3_body_bytes_count{op="UploadPart"}')).toBe(3);
    expect(sample(text, 'longshore_objects_total{way="multipart",outcome="uploaded"}')).toBe(1);
    expect(sample(text, 'longshore_activity_duration_seconds_count{activity="uploadParts"}')).toBe(1);
    expect(sample(text, 'longshore_queue_lag_seconds_count{queue="transfer@files"}')).toBeGreaterThan(1);
    expect(sample(text, 'longshore_activities_running{activity="uploadParts"}')).toBe(0);
    expect(sample(text, 'longshore_s3_in_flight')).toBe(0);
    expect(sample(text, 'longshore_active{kind="upload",state="UPLOADING"}')).toBe(0);
    // Temporal's own come after ours.
    expect(text).toMatch(/^temporal_workflow_task_execution_latency.*_bucket/m);
    for (const chosen of [bucket.name, 'a-key-of-ours', id, file.name]) expect(text).not.toContain(chosen);
    expect(text).not.toContain('longshore_s3_errors_total{');
  });
});

describe('traces', () => {
  it('go from the command through the workflow to its activities', async () => {
    const surroundings = withEnv({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      OTEL_BSP_SCHEDULE_DELAY: '100',
    });
    await startWorker(surroundings);
    const [file, bucket] = await Promise.all([rig.file(20 * MiB), rig.bucket()]);
    const id = await put(surroundings, file.path, `s3://${bucket.name}/traced`);
    const start = await eventually(
      () => collector.spans.find(({ name }) => name === 'StartWorkflow:uploadObject'),
      {
        what: 'the span of the start',
      },
    );
    const inTrace = (name: string) =>
      eventually(() => collector.spans.find((span) => span.name === name && span.traceId === start.traceId), {
        what: `${name} in the trace of the start`,
      });
    const run = await inTrace('RunWorkflow:uploadObject');
    expect(run.parentId).toBe(start.spanId);
    for (const activity of ['inspectSource', 'uploadParts', 'completeMultipartUpload', 'verifyObject']) {
      const scheduled = await inTrace(`StartActivity:${activity}`);
      expect((await inTrace(`RunActivity:${activity}`)).parentId).toBe(scheduled.spanId);
    }
    expect(collector.said()).not.toContain(rig.surroundings.s3?.secretAccessKey);

    const handle = rig.temporal.client.workflow.getHandle(uploadWorkflowId(id));
    const history = historyToText(await handle.fetchHistory());
    expect(history).toContain('_tracer-data');
    // Tracing may be turned off while uploads run.
    expect(await replay(await workflowBundle(), [[uploadWorkflowId(id), history]])).toEqual({
      [uploadWorkflowId(id)]: 'replayed',
    });
  });

  it('may be turned on while uploads run: recorded histories replay with it', async () => {
    const texts = readdirSync(HISTORIES).map((name): [string, string] => [
      name,
      readFileSync(new URL(name, HISTORIES), 'utf8'),
    ]);
    expect(await replay(traced, texts)).toEqual(
      Object.fromEntries(texts.map(([name]) => [name, 'replayed'])),
    );
  });

  it('leave nothing in the history while they are off', async () => {
    await startWorker(rig.surroundings);
    const [file, bucket] = await Promise.all([rig.file(1000), rig.bucket()]);
    const id = await put(rig.surroundings, file.path, `s3://${bucket.name}/untraced`);
    const handle = rig.temporal.client.workflow.getHandle(uploadWorkflowId(id));
    expect(historyToText(await handle.fetchHistory())).not.toContain('_tracer-data');
  });

  it('are lost when there is no collector, and nothing else is', async () => {
    await startWorker(rig.surroundings);
    const [file, bucket] = await Promise.all([rig.file(1000), rig.bucket()]);
    const nowhere = withEnv({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' });
    const { code, stderr } = await longshore(['put', file.path, `s3://${bucket.name}/lost`], nowhere);
    expect(stderr).toMatch(/tracing: .*ECONNREFUSED/);
    expect(code).toBe(0);
  });

  it.each([
    ['not loaded while they are off', {}, false],
    ['loaded when they are on', { OTEL_TRACES_EXPORTER: 'otlp' }, true],
  ])('are %s', async (_what, env, loaded) => {
    const { stderr } = await longshore(['status', 'nobody'], withEnv({ NODE_DEBUG: 'module', ...env }));
    expect(stderr).toMatch(/MODULE \d+: load/);
    expect(stderr.includes('@opentelemetry')).toBe(loaded);
  });
});
