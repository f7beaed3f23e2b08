/** Liveness and readiness of a worker process, for whatever supervises it. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { LongshoreError } from '../core/errors.js';
import { METRICS_CONTENT_TYPE } from '../infra/telemetry/meter.js';

export interface HealthServer {
  port: number;
  close(): Promise<void>;
}

export interface HealthSources {
  ready: () => boolean;
  /** Prometheus's text format. */
  metrics: () => Promise<string>;
}

/** `GET /health`: 200 while the process lives. `GET /ready`: 200 while `ready` says so, otherwise 503. `GET /metrics`. */
export async function startHealth(host: string, port: number, sources: HealthSources): Promise<HealthServer> {
  const server: Server = createServer((request, response) => {
    const isReady = sources.ready();
    const path = request.url?.split('?')[0];
    if (path === '/metrics') return void answerMetrics(response, sources.metrics);
    const status = path === '/health' ? 200 : path === '/ready' ? (isReady ? 200 : 503) : 404;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({ status: status === 200 ? 'ok' : status === 404 ? 'not found' : 'not ready' }),
    );
  });
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (cause) {
    const message = `the health endpoint cannot listen on ${host}:${port}: ${String(cause)}`;
    const hint = 'Choose another LONGSHORE_HEALTH_PORT, or end what uses this one.';
    throw new LongshoreError('InvalidConfig', message, { op: 'listen', hint, cause });
  }
  const close = async (): Promise<void> => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return { port: (server.address() as AddressInfo).port, close };
}

async function answerMetrics(response: ServerResponse, metrics: () => Promise<string>): Promise<void> {
  try {
    const text = await metrics();
    response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end(`${why}\n`);
  }
}
