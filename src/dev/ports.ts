/** Ports on loopback: the one that is hoped for when it is free, any free one otherwise. */
import { createServer } from 'node:net';

export const LOOPBACK = '127.0.0.1';

/** Where people look first. */
export const PREFERRED_PORTS = { temporal: 7233, ui: 8233, s3: 7070, postgres: 5432, api: 8000 } as const;

/**
 * Free ports, all different, in the order of the wishes. A wish is a list of ports to try, best first. They are held
 * until all are chosen, so that no two wishes get the same one; another program may still take one before it is used.
 */
export async function pickPorts(wishes: readonly (readonly (number | undefined)[])[]): Promise<number[]> {
  const held: Reservation[] = [];
  try {
    for (const wish of wishes) held.push(await reserveFirst(wish));
    return held.map(({ port }) => port);
  } finally {
    await Promise.all(held.map(({ release }) => release()));
  }
}

export async function pickPort(...wish: (number | undefined)[]): Promise<number> {
  const [port] = await pickPorts([wish]);
  if (port === undefined) throw new Error('no port was chosen');
  return port;
}

interface Reservation {
  port: number;
  release: () => Promise<void>;
}

async function reserveFirst(wish: readonly (number | undefined)[]): Promise<Reservation> {
  for (const port of wish) {
    const reserved = port === undefined ? undefined : await reserve(port);
    if (reserved !== undefined) return reserved;
  }
  const any = await reserve(0);
  if (any === undefined) throw new Error('this machine has no free port');
  return any;
}

async function reserve(port: number): Promise<Reservation | undefined> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(undefined);
      else reject(error);
    });
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => {
      const address = server.address();
      const chosen = typeof address === 'object' && address !== null ? address.port : port;
      resolve({ port: chosen, release: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
