/** What a worker process tells about itself: metrics at its health port, and traces when they are asked for. */
import { fileURLToPath } from 'node:url';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import type { TelemetryOptions, WorkerOptions } from '@temporalio/worker';
import type { Config } from '../infra/config.js';
import type { Logger } from '../infra/telemetry/log.js';
import type { Metrics } from '../infra/telemetry/metrics.js';
import type { Tracing } from '../infra/telemetry/tracing.js';
import { meteredActivities } from './activity-meter.js';
import { openSdkMetrics } from './sdk-metrics.js';

export interface WorkerTelemetry {
  /** undefined where nobody can read them. */
  metrics: Metrics | undefined;
  /** For `Runtime.install`. */
  runtime: TelemetryOptions;
  /** For every Temporal client of the process. */
  client: WorkflowClientInterceptor[];
  /** For every `Worker.create`. */
  worker: Pick<WorkerOptions, 'interceptors' | 'sinks'>;
  traced: boolean;
  /** Prometheus's text format: our metrics, then those of Temporal's SDK. */
  text: () => Promise<string>;
  close(): Promise<void>;
}

type Interceptors = NonNullable<WorkerOptions['interceptors']>;

/** Loads only what is asked for. */
export async function openTelemetry({ worker, telemetry }: Config, log: Logger): Promise<WorkerTelemetry> {
  const measured = worker.healthPort !== undefined;
  const metrics = measured ? (await import('../infra/telemetry/metrics.js')).createMetrics() : undefined;
  const sdk = measured ? await openSdkMetrics() : undefined;
  const tracing = telemetry.traces
    ? (await import('../infra/telemetry/tracing.js')).startTracing(telemetry, 'worker', (message) =>
        log.warn(message),
      )
    : undefined;
  const activity = metrics === undefined ? [] : [meteredActivities(metrics.activities)];
  return {
    metrics,
    runtime: sdk?.options ?? {},
    client: tracing === undefined ? [] : [tracing.client],
    worker: tracing === undefined ? { interceptors: { activity } } : await tracedOptions(tracing, activity),
    traced: tracing !== undefined,
    text: async () => [await metrics?.text(), await sdk?.text()].join('\n'),
    close: async () => {
      await metrics?.close();
      await tracing?.shutdown();
    },
  };
}

async function tracedOptions(
  { client, processor, resource }: Tracing,
  activity: NonNullable<Interceptors['activity']>,
): Promise<WorkerTelemetry['worker']> {
  const { makeWorkflowExporter, OpenTelemetryActivityInboundInterceptor } =
    await import('@temporalio/interceptors-opentelemetry/lib/worker/index.js');
  const spans: NonNullable<Interceptors['activity']>[number] = (context) => ({
    inbound: new OpenTelemetryActivityInboundInterceptor(context),
  });
  return {
    interceptors: {
      activity: [spans, ...activity],
      client: { workflow: [client] },
    },
    sinks: { exporter: makeWorkflowExporter(processor, resource) },
  };
}

/** For workers that run sources: the built bundle has it inside. */
export function workflowTracer(): string {
  return fileURLToPath(new URL('../workflows/tracing.ts', import.meta.url));
}
