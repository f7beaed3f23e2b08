/**
 * Traces of workflows, in a bundle of its own for workers that trace. Interceptors of the package that the client and the
 * activities use wrap calls in promises of their own, and each delays what comes after it by a moment: a run that was
 * begun without them would not replay with them. These hand on the very promise they are given, so that tracing may be
 * turned on and off while workflows run. Nothing that decides what a workflow does may be added here.
 */
import '@temporalio/interceptors-opentelemetry/lib/workflow/runtime.js';
import { context, SpanStatusCode, trace, type Context, type Span, type Tracer } from '@opentelemetry/api';
import { BasicTracerProvider, SimpleSpanProcessor, type IdGenerator } from '@opentelemetry/sdk-trace-base';
import {
  extractContextFromHeaders,
  headersWithContext,
} from '@temporalio/interceptors-opentelemetry/lib/instrumentation.js';
import { ContextManager } from '@temporalio/interceptors-opentelemetry/lib/workflow/context-manager.js';
import { SpanName } from '@temporalio/interceptors-opentelemetry/lib/workflow/definitions.js';
import { SpanExporter } from '@temporalio/interceptors-opentelemetry/lib/workflow/span-exporter.js';
import {
  ContinueAsNew,
  workflowInfo,
  type WorkflowInboundCallsInterceptor,
  type WorkflowInterceptors,
  type WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';

/** Each workflow has these for itself: its modules are its own. */
export function interceptors(): WorkflowInterceptors {
  const contextManager = new ContextManager();
  const idGenerator = new RunIds(() => workflowInfo().runId);
  const provider = new BasicTracerProvider({ idGenerator });
  provider.addSpanProcessor(new SimpleSpanProcessor(new SpanExporter()));
  provider.register({ contextManager });
  const tracer = provider.getTracer('longshore-workflow');
  const dispose = (input: unknown, next: (input: never) => void): void => {
    contextManager.disable();
    next(input as never);
  };
  return { inbound: [inbound(tracer)], outbound: [outbound(tracer)], internals: [{ dispose }] };
}

/**
 * Ids of traces and spans from the id of the run. Taken from Math.random they would change what workflow code gets from it
 * and from uuid4, and a run would go on with other values than it began with once tracing is turned on or off.
 */
export class RunIds implements IdGenerator {
  private states: [number, number] | undefined;

  constructor(private readonly runId: () => string) {}

  generateTraceId(): string {
    return this.generateSpanId() + this.generateSpanId();
  }

  generateSpanId(): string {
    this.states ??= [seedOf(this.runId(), 0x811c9dc5), seedOf(this.runId(), 0x9e3779b9)];
    this.states = [(this.states[0] + 0x9e3779b9) | 0, (this.states[1] + 0x6d2b79f5) | 0];
    return this.states.map((state) => mixed(state).toString(16).padStart(8, '0')).join('');
  }
}

function seedOf(text: string, start: number): number {
  let hash = start;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return mixed(hash);
}

function mixed(value: number): number {
  const once = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  const twice = Math.imul(once ^ (once >>> 15), 0x846ca68b);
  return (twice ^ (twice >>> 16)) >>> 0;
}

function inbound(tracer: Tracer): WorkflowInboundCallsInterceptor {
  const under = (headers: Parameters<typeof extractContextFromHeaders>[0]): Context =>
    extractContextFromHeaders(headers) ?? context.active();
  return {
    execute: (input, next) =>
      spanning(
        tracer,
        nameOf(SpanName.WORKFLOW_EXECUTE, workflowInfo().workflowType),
        under(input.headers),
        () => next(input),
      ),
    handleSignal: (input, next) =>
      spanning(tracer, nameOf(SpanName.WORKFLOW_HANDLE_SIGNAL, input.signalName), under(input.headers), () =>
        next(input),
      ),
  };
}

function outbound(tracer: Tracer): WorkflowOutboundCallsInterceptor {
  const here = <T>(name: string, step: () => Promise<T>): Promise<T> =>
    spanning(tracer, name, context.active(), step);
  return {
    scheduleActivity: (input, next) =>
      here(nameOf(SpanName.ACTIVITY_START, input.activityType), () => next(told(input))),
    scheduleLocalActivity: (input, next) =>
      here(nameOf(SpanName.ACTIVITY_START, input.activityType), () => next(told(input))),
    startChildWorkflowExecution: (input, next) =>
      here(nameOf(SpanName.CHILD_WORKFLOW_START, input.workflowType), () => next(told(input))),
    signalWorkflow: (input, next) =>
      here(nameOf(SpanName.WORKFLOW_SIGNAL, input.signalName), () => next(told(input))),
    continueAsNew: (input, next) => next(told(input)),
  };
}

function nameOf(kind: SpanName, what: string): string {
  return `${kind}:${what}`;
}

/** Whoever is called goes on in the span that is active here. */
function told<T extends { headers: Parameters<typeof headersWithContext>[0] }>(input: T): T {
  return { ...input, headers: headersWithContext(input.headers) };
}

/** The promise of `step` itself, with a span from now until it is settled. */
function spanning<T>(tracer: Tracer, name: string, parent: Context, step: () => Promise<T>): Promise<T> {
  const span = tracer.startSpan(name, {}, parent);
  let result: Promise<T>;
  try {
    result = context.with(trace.setSpan(parent, span), step);
  } catch (error) {
    endWith(span, error);
    throw error;
  }
  result.then(
    () => endWell(span),
    (error: unknown) => endWith(span, error),
  );
  return result;
}

function endWell(span: Span): void {
  span.setStatus({ code: SpanStatusCode.OK });
  span.end();
}

function endWith(span: Span, error: unknown): void {
  if (error instanceof ContinueAsNew) return endWell(span);
  const message = error instanceof Error ? error.message : String(error);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
  span.end();
}
