/** A TCP proxy that can be taken down, as a cable is pulled: for Postgres, Temporal, Redis and brokers. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

export async function startTcpProxy(host: string, port: number): Promise<TcpProxy> {
  const proxy = new TcpProxy({ host, port });
  await proxy.up();
  return proxy;
}

export class TcpProxy {
  /** Connections accepted so far. */
  accepted = 0;
  #server: Server | undefined;
  #port = 0;
  #stalled = false;
  readonly #pairs = new Set<readonly [Socket, Socket]>();

  constructor(private readonly target: { host: string; port: number }) {}

  /** Stays the same over `down` and `up`. */
  get port(): number {
    return this.#port;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Resets every connection and refuses new ones. */
  async down(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
    await closed;
  }

  async up(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer({ pauseOnConnect: true }, (client) => this.#accept(client));
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Connections stay open, and new ones are accepted, but no byte moves. */
  stall(): void {
    this.#stalled = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.unpipe().pause();
  }

  resume(): void {
    this.#stalled = false;
    for (const pair of this.#pairs) join(pair);
  }

  async close(): Promise<void> {
    await this.down();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  #accept(client: Socket): void {
    this.accepted++;
    const upstream = connect(this.target);
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.setNoDelay(true);
      // Its close follows, and that is what counts.
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.#pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
    if (!this.#stalled) join(pair);
  }
}

function join([client, upstream]: readonly [Socket, Socket]): void {
  client.pipe(upstream);
  upstream.pipe(client);
}
