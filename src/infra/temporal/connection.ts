/** Connections to Temporal, and how its refusals become ours. */
import { Connection, isGrpcServiceError, ServiceError, type TLSConfig } from '@temporalio/client';
import { LongshoreError } from '../../core/errors.js';
import type { TemporalConfig } from '../config.js';

const CONNECT_TIMEOUT = '5 seconds';
/** gRPC's own pause between tries grows to two minutes: whoever waits for an upload would wait that long for nothing. */
const RECONNECT = { 'grpc.initial_reconnect_backoff_ms': 250, 'grpc.max_reconnect_backoff_ms': 2_000 };

export interface TemporalAddress {
  address: string;
  apiKey?: string;
  tls?: TLSConfig | boolean;
  metadata?: Record<string, string>;
}

/** What both kinds of connection, the client's and the worker's, are opened with. */
export function connectionOptions(config: TemporalConfig): TemporalAddress {
  return {
    address: config.address,
    ...(config.apiKey === undefined ? {} : { apiKey: config.apiKey }),
    ...(config.tls === undefined ? {} : { tls: config.tls as TLSConfig | boolean }),
    ...(config.metadata === undefined ? {} : { metadata: config.metadata }),
  };
}

/** Throws TemporalUnavailable after five seconds without an answer. */
export async function connectTemporal(config: TemporalConfig): Promise<Connection> {
  try {
    return await Connection.connect({
      ...connectionOptions(config),
      connectTimeout: CONNECT_TIMEOUT,
      channelArgs: RECONNECT,
    });
  } catch (error) {
    throw unavailable(config, 'connect', error);
  }
}

/** gRPC failures that mean "not there just now", as TemporalUnavailable; everything else as it is. */
export function temporalError(config: TemporalConfig, op: string, error: unknown): unknown {
  const cause = error instanceof ServiceError ? error.cause : error;
  if (!isGrpcServiceError(cause)) return error;
  const passing = [1, 4, 8, 14].includes(cause.code); // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
  if (passing) return unavailable(config, op, error);
  return /search attribute/i.test(cause.details) ? notMigrated(config, op, cause) : error;
}

function notMigrated(config: TemporalConfig, op: string, cause: Error & { details: string }): LongshoreError {
  return new LongshoreError('InvalidConfig', `the namespace ${config.namespace}: ${cause.details}`, {
    op,
    key: config.namespace,
    hint: 'Run `longshore migrate`: it registers the search attributes that uploads carry.',
    cause,
  });
}

function unavailable(config: TemporalConfig, op: string, cause: unknown): LongshoreError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new LongshoreError('TemporalUnavailable', `Temporal at ${config.address} does not answer: ${why}`, {
    op,
    key: config.address,
    cause,
  });
}

/** A workflow's page in the Web UI; undefined where the UI's address is unknown. */
export function webUiUrl(config: TemporalConfig, workflowId: string, runId: string): string | undefined {
  if (config.ui === undefined) return undefined;
  return `${config.ui}/namespaces/${encodeURIComponent(config.namespace)}/workflows/${encodeURIComponent(workflowId)}/${runId}/history`;
}
