/**
 * Traces: one from the command or request that starts a workflow, through the workflow, to its activities. Nothing of
 * this is loaded while tracing is off.
 */
import { context, diag, DiagLogLevel, propagation, trace, type DiagLogger } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResourcesSync, envDetectorSync, Resource, type IResource } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { Next, WorkflowClientInterceptor, WorkflowDescribeInput } from '@temporalio/client';
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry/lib/client/index.js';
import type { TelemetryConfig } from '../config-telemetry.js';
import { scrub } from './scrub.js';

export interface Tracing {
  resource: Resource;
  processor: SpanProcessor;
  /** For `LongshoreClient.connect` and every other Temporal client of the process. */
  client: WorkflowClientInterceptor;
  /** Sends what is left; what cannot be sent is warned of. */
  shutdown(): Promise<void>;
}

/**
 * One per process: it also becomes the process's own tracer. `part` is what of Longshore speaks: `cli`, `worker`, `api`.
 * `warn` hears of spans that did not arrive; nothing else fails because of them.
 */
export function startTracing(
  config: TelemetryConfig,
  part: string,
  warn: (message: string) => void,
): Tracing {
  diag.setLogger(diagnosticsTo(warn), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const named = new Resource({ 'service.name': config.serviceName, 'longshore.part': part });
  const resource = merged(named, detectResourcesSync({ detectors: [envDetectorSync] }));
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  provider.register({ contextManager: new AsyncLocalStorageContextManager().enable() });
  const shutdown = async (): Promise<void> => {
    await provider.shutdown().catch((error: unknown) => warn(scrub(`tracing: ${String(error)}`)));
    trace.disable();
    context.disable();
    propagation.disable();
    diag.disable();
  };
  return { resource, processor, client: new ClientCalls(), shutdown };
}

function diagnosticsTo(warn: (message: string) => void): DiagLogger {
  const say = (...said: unknown[]): void => warn(scrub(`tracing: ${said.map(String).join(' ')}`));
  const silent = (): void => undefined;
  return { error: say, warn: say, info: silent, debug: silent, verbose: silent };
}

function merged(named: Resource, detected: IResource): Resource {
  return named.merge(detected);
}

/** Calls that start and steer. Describing is how progress is watched, some times a second. */
class ClientCalls extends OpenTelemetryWorkflowClientInterceptor {
  override async describe(
    input: WorkflowDescribeInput,
    next: Next<WorkflowClientInterceptor, 'describe'>,
  ): ReturnType<OpenTelemetryWorkflowClientInterceptor['describe']> {
    return await next(input);
  }
}
