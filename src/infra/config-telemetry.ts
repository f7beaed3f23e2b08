/** OpenTelemetry's standard variables, as far as they decide whether there are traces; its exporter reads the rest itself. */
import type { Settings } from './config-settings.js';
import * as v from './config-values.js';

export interface TelemetryConfig {
  /** Spans leave by OTLP over HTTP: asked for, or given somewhere to go. */
  readonly traces: boolean;
  readonly serviceName: string;
}

const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'];
const PROTOCOLS = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL'];
const SPOKEN = 'http/protobuf';

/** What OpenTelemetry offers and Longshore does not is no reason to refuse a command: the variables may be meant for others. */
export function readTelemetry(settings: Settings): TelemetryConfig {
  const { env, warnings } = settings;
  const serviceName = settings.read({ env: ['OTEL_SERVICE_NAME'], schema: v.text() }) ?? 'longshore';
  const disabled = settings.read({ env: ['OTEL_SDK_DISABLED'], schema: v.boolean() }) === true;
  const exporters = settings.read({ env: ['OTEL_TRACES_EXPORTER'], schema: v.list() });
  const asked = exporters?.includes('otlp') ?? settings.has(...ENDPOINTS);
  if (disabled || !asked) return { traces: false, serviceName };
  const protocol = PROTOCOLS.find((name) => env[name] !== undefined && env[name] !== SPOKEN);
  if (protocol !== undefined)
    warnings.push(`no traces are sent: ${protocol} is ${env[protocol]}, and Longshore speaks ${SPOKEN}`);
  return { traces: protocol === undefined, serviceName };
}
