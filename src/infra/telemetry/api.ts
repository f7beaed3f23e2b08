/** What the API process tells about itself. Knows nothing of the HTTP server: its hooks call `request`, a route answers `text`. */
import type { WorkflowClientInterceptor } from '@temporalio/client';
import type { TelemetryConfig } from '../config-telemetry.js';
import type { Gauges, HttpMeter } from './meter.js';

export { METRICS_CONTENT_TYPE } from './meter.js';

export interface ApiTelemetry extends HttpMeter {
  /** For `LongshoreClient.connect`; empty while tracing is off. */
  client: WorkflowClientInterceptor[];
  /** In Prometheus's text format, as METRICS_CONTENT_TYPE. */
  text(): Promise<string>;
  close(): Promise<void>;
}

/** One per process. `warn` hears of spans that did not arrive. */
export async function openApiTelemetry(
  config: TelemetryConfig,
  gauges: Pick<Gauges, 'active'>,
  warn: (message: string) => void,
): Promise<ApiTelemetry> {
  const { createMetrics } = await import('./metrics.js');
  const metrics = createMetrics();
  metrics.observe(gauges);
  const tracing = config.traces
    ? (await import('./tracing.js')).startTracing(config, 'api', warn)
    : undefined;
  return {
    client: tracing === undefined ? [] : [tracing.client],
    request: (...told) => metrics.http.request(...told),
    text: () => metrics.text(),
    close: async () => {
      await metrics.close();
      await tracing?.shutdown();
    },
  };
}
