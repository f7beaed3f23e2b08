/** Liveness and readiness of a worker process, for whatever supervises it. */
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { LongshoreError } from '../core/errors.js';

export interface HealthServer {
  port: number;
  close(): Promise<void>;
}

/** `GET /health`: 200 while the process lives. `GET /ready`: 200 while `ready` says so, otherwise 503. */
export async function startHealth(host: string, port: number, ready: () => boolean): Promise<HealthServer> {
  const server: Server = createServer((request, response) => {
    const isReady = ready();
    const path = request.url?.split('?')[0];
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
