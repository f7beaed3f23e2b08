/** Somebody who takes webhooks: a plain HTTP server that keeps what it got and answers as it is told. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Delivery {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface TestReceiver {
  url: string;
  host: string;
  deliveries: Delivery[];
  /** Status of the answer, or a function of the delivery; 204 by default. `location` for redirects. */
  answer: number | ((delivery: Delivery) => number);
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

export async function startReceiver(): Promise<TestReceiver> {
  const deliveries: Delivery[] = [];
  let port = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const delivery = {
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
      };
      const status = typeof receiver.answer === 'number' ? receiver.answer : receiver.answer(delivery);
      if (status < 300) deliveries.push(delivery);
      response.writeHead(status, { location: 'http://127.0.0.1:1/elsewhere' }).end();
    });
  });
  const up = async (): Promise<void> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  };
  const down = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  await up();
  const receiver: TestReceiver = {
    ...{ url: `http://127.0.0.1:${port}/hook?token=hidden`, host: `127.0.0.1:${port}` },
    ...{ deliveries, answer: 204, up, down, close: down },
  };
  return receiver;
}
