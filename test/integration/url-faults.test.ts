/** Servers of URL sources that break off, stall, lie about their size or point elsewhere; and what each costs. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import type { TestBucket } from '../helpers/buckets.js';
import { failureOf, keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';

const PART = 5 * MiB;
const BYTES = randomBytes(4 * PART + 7);
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A web server of the test, with what it was asked. */
class Site {
  readonly asked: { path: string; first: number; whole: boolean }[] = [];
  handler: Handler = (_request, response) => response.writeHead(404).end();

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Site> {
    const server = createServer();
    const site = new Site(server);
    server.on('request', (request, response) => {
      const range = /bytes=(\d+)-/.exec(request.headers.range ?? '');
      site.asked.push({ path: request.url ?? '', first: Number(range?.[1] ?? 0), whole: range === null });
      site.handler(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return site;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** Serves BYTES; `spoil` may take an answer over once its head is out. */
function ranged(
  spoil: (first: number, last: number, response: ServerResponse) => boolean = () => false,
): Handler {
  return (request, response) => {
    const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
    const first = Number(range?.[1] ?? 0);
    const last = Math.min(Number(range?.[2] || BYTES.length), BYTES.length - 1);
    response.writeHead(range === null ? 200 : 206, {
      etag: '"v1"',
      'content-length': last - first + 1,
      ...(range === null ? {} : { 'content-range': `bytes ${first}-${last}/${BYTES.length}` }),
    });
    if (!spoil(first, last, response)) response.end(BYTES.subarray(first, last + 1));
  };
}

/** Serves BYTES from the start, and nothing else. */
function whole(spoil: (response: ServerResponse) => boolean = () => false): Handler {
  return (request, response) => {
    response.writeHead(200, { etag: '"v1"', 'content-length': BYTES.length });
    // The first look takes the head only.
    if (request.headers.range !== undefined || !spoil(response)) response.end(BYTES);
  };
}

let rig: Rig;
let site: Site;
let forbidden: Site;

beforeAll(async () => {
  [site, forbidden] = await Promise.all([Site.start(), Site.start()]);
  rig = await startRig({
    env: {
      LONGSHORE_THRESHOLD: '5MiB',
      LONGSHORE_URL_ALLOW: site.host,
      LONGSHORE_URL_TIMEOUT: '3s',
      LONGSHORE_URL_MAX_SIZE: '32MiB',
    },
  });
});
afterAll(async () => {
  await rig.close();
  site.stop();
  forbidden.stop();
});

async function send(path: string, host = site.host): Promise<{ id: string; bucket: TestBucket }> {
  const bucket = await rig.bucket();
  const { id } = await rig.client.startUpload({
    source: { kind: 'url', url: `http://${host}${path}` },
    destination: { bucket: bucket.name, key: 'from-url' },
    options: { partSize: PART, concurrency: 1 },
  });
  return { id, bucket };
}

async function arrivesOnce({ id, bucket }: { id: string; bucket: TestBucket }): Promise<void> {
  expect(await rig.client.result(id)).toMatchObject({
    size: BYTES.length,
    bytesSent: BYTES.length,
    verification: 'full',
  });
  expect(await objectSha256(bucket, 'from-url')).toBe(SHA256);
  const parts = [...rig.proxy.parts({ bucket: bucket.name }).values()];
  expect(parts.map(({ count }) => count)).toEqual([1, 1, 1, 1, 1]);
}

describe('a server that drops the connection in the middle', () => {
  it('of a range: the part is asked for again, and no part is sent twice', async () => {
    let drops = 2;
    site.handler = ranged((first, last, response) => {
      if (first < 2 * PART || drops-- <= 0) return false;
      response.write(BYTES.subarray(first, (first + last) / 2), () => response.destroy());
      return true;
    });
    await arrivesOnce(await send('/drops'));
    expect(drops).toBeLessThanOrEqual(0);
    // Never from the start of everything: ranges only.
    expect(site.asked.filter(({ path, whole: all }) => path === '/drops' && all)).toEqual([]);
  });

  it('of the whole, without ranges: it is read from its start again, and no part is sent twice', async () => {
    let drops = 2;
    site.handler = whole((response) => {
      if (drops-- <= 0) return false;
      response.write(BYTES.subarray(0, 2 * PART + 1000), () => response.destroy());
      return true;
    });
    await arrivesOnce(await send('/drops-whole'));
    expect(drops).toBeLessThanOrEqual(0);
  });

  it('and has another version afterwards: SourceChanged, nothing is left', async () => {
    let version = 1;
    const serve = ranged((first, _last, response) => {
      if (version > 1 || first < 2 * PART) return false;
      version = 2;
      response.write(BYTES.subarray(first, first + 1000), () => response.destroy());
      return true;
    });
    site.handler = (request, response) => {
      if (version === 1) return serve(request, response);
      response.writeHead(200, { etag: '"v2"', 'content-length': BYTES.length }).end(BYTES);
    };
    const { id, bucket } = await send('/changes');
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceChanged' });
    expect(await keysIn(bucket)).toEqual([]);
  });
});

describe('limits', () => {
  it('an answer that goes on for longer than LONGSHORE_URL_TIMEOUT is given up, and asked for again', async () => {
    let slow = 1;
    let given = 0;
    site.handler = ranged((first, _last, response) => {
      if (first < PART || slow-- <= 0) return false;
      const began = performance.now();
      // Never idle, never done.
      const drip = setInterval(() => response.write('x'), 100);
      response.once('close', () => {
        clearInterval(drip);
        given = performance.now() - began;
      });
      return true;
    });
    const sent = await send('/slow');
    await arrivesOnce(sent);
    expect(given).toBeGreaterThan(2_500);
    expect(given).toBeLessThan(8_000);
  });

  it('a length over LONGSHORE_URL_MAX_SIZE fails before anything is sent', async () => {
    site.handler = (_request, response) =>
      response
        .writeHead(206, {
          etag: '"v1"',
          'content-length': 1,
          'content-range': `bytes 0-0/${33 * MiB}`,
        })
        .end('x');
    const { id, bucket } = await send('/large');
    expect(await failureOf(rig.client, id)).toMatchObject({
      code: 'SourceTooLarge',
      message: expect.stringContaining(String(32 * MiB)) as unknown,
    });
    expect(rig.proxy.calls(undefined, { bucket: bucket.name })).toBe(0);
  });

  it('an answer without a length ends where LONGSHORE_URL_MAX_SIZE is, and leaves nothing', async () => {
    const chunk = Buffer.alloc(MiB, 1);
    site.handler = ({ method, headers }, response) => {
      response.writeHead(200, { 'transfer-encoding': 'chunked' });
      if (method === 'HEAD' || headers.range !== undefined) return void response.end();
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    };
    const { id, bucket } = await send('/endless');
    expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceTooLarge' });
    expect(await keysIn(bucket)).toEqual([]);
  });
});

describe('an address that is not allowed', () => {
  const refused = {
    code: 'SourceNotAllowed',
    hint: expect.stringContaining('LONGSHORE_URL_ALLOW') as unknown,
  };

  it('by a redirect to another port of the same private host is refused, and never asked', async () => {
    site.handler = (_request, response) =>
      response.writeHead(302, { location: `http://${forbidden.host}/secret` }).end();
    forbidden.handler = ranged();
    const { id, bucket } = await send('/redirects');
    expect(await failureOf(rig.client, id)).toMatchObject(refused);
    expect(forbidden.asked).toEqual([]);
    expect(rig.proxy.calls(undefined, { bucket: bucket.name })).toBe(0);
  });

  it.each(['http://localhost', 'http://[::1]', 'http://[::ffff:127.0.0.1]', 'http://2130706433'])(
    'by a redirect to %s is refused, whatever it is spelled like',
    async (spelling) => {
      const port = forbidden.host.split(':')[1];
      site.handler = (_request, response) =>
        response.writeHead(307, { location: `${spelling}:${port}/` }).end();
      const { id } = await send('/spelled');
      expect(await failureOf(rig.client, id)).toMatchObject(refused);
      expect(forbidden.asked).toEqual([]);
    },
  );

  it('only in the middle, once it was looked at, is refused too', async () => {
    site.handler = ranged();
    const serve = site.handler;
    site.handler = (request, response) => {
      const first = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      if (first < 2 * PART) return serve(request, response);
      response.writeHead(302, { location: `http://${forbidden.host}/secret` }).end();
    };
    const { id, bucket } = await send('/later');
    expect(await failureOf(rig.client, id)).toMatchObject(refused);
    expect(forbidden.asked).toEqual([]);
    expect(await keysIn(bucket)).toEqual([]);
  });

  it('asked for directly is refused', async () => {
    const { id } = await send('/direct', forbidden.host);
    expect(await failureOf(rig.client, id)).toMatchObject(refused);
    expect(forbidden.asked).toEqual([]);
  });
});
