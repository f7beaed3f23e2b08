/** The metrics of Temporal's SDK. It serves them at a port of its own, on loopback, from where they are passed on. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import type { TelemetryOptions } from '@temporalio/worker';
import { request } from 'undici';

export interface SdkMetrics {
  options: TelemetryOptions;
  text(): Promise<string>;
}

const LOOPBACK = '127.0.0.1';
const PATIENCE_MS = 2_000;

export async function openSdkMetrics(): Promise<SdkMetrics> {
  const address = `${LOOPBACK}:${await freePort()}`;
  return {
    options: {
      metrics: {
        prometheus: {
          bindAddress: address,
          countersTotalSuffix: true,
          unitSuffix: true,
          useSecondsForDurations: true,
        },
      },
    },
    text: async () => {
      const timeouts = { headersTimeout: PATIENCE_MS, bodyTimeout: PATIENCE_MS };
      const { body } = await request(`http://${address}/metrics`, timeouts);
      return await body.text();
    },
  };
}

/** The SDK does not say which port it took, so it cannot be left to choose one. */
async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
