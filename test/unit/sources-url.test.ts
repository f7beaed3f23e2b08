import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { UrlSource } from '../../src/core/uploads.js';
import type { PinnedSource } from '../../src/core/upload-steps.js';
import { createSources, type ClosableSources, type SourcesDeps } from '../../src/infra/sources/index.js';

const saying = (text: string): unknown => expect.stringContaining(text);
const never = new AbortController().signal;
const BYTES = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 31) % 251));
const servers: Server[] = [];
const opened: ClosableSources[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((sources) => sources.close()));
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

interface Local {
  port: number;
  /** http://127.0.0.1:port */
  base: string;
  seen: IncomingMessage[];
}

async function serve(handler: RequestListener): Promise<Local> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    handler(request, response);
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return { port, base: `http://127.0.0.1:${port}`, seen };
}

/** A resource as good servers serve it: ranges, validators, If-Range. */
class Resource {
  bytes = BYTES;
  etag: string | undefined = '"v1"';
  lastModified: string | undefined = 'Wed, 01 Jan 2020 00:00:00 GMT';
  ranges = true;

  readonly handle: RequestListener = (request, response) => {
    if (this.etag !== undefined) response.setHeader('etag', this.etag);
    if (this.lastModified !== undefined) response.setHeader('last-modified', this.lastModified);
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const ifRange = request.headers['if-range'];
    const { length } = this.bytes;
    if (!this.ranges || range === null || (ifRange !== undefined && ifRange !== this.etag)) {
      response.setHeader('content-length', length);
      response.end(request.method === 'HEAD' ? undefined : this.bytes);
      return;
    }
    const first = Number(range[1]);
    const last = Math.min(Number(range[2]), length - 1);
    if (first >= length) {
      response.writeHead(416, { 'content-range': `bytes */${length}` }).end();
      return;
    }
    const part = this.bytes.subarray(first, last + 1);
    response.setHeader('content-range', `bytes ${first}-${last}/${length}`);
    response.writeHead(206, { 'content-length': part.length }).end(part);
  };
}

interface Overrides extends Partial<Omit<SourcesDeps, 'url'>> {
  url?: Partial<SourcesDeps['url']>;
}

function sourcesWith({ url, ...rest }: Overrides = {}): ClosableSources {
  const sources = createSources({
    roots: {},
    url: { allow: ['127.0.0.1'], maxSize: 1024 ** 3, timeoutMs: 20_000, maxRedirects: 3, ...url },
    stores: () => {
      throw new Error('no store here');
    },
    unseal: (ref) => Promise.resolve(ref),
    ...rest,
  });
  opened.push(sources);
  return sources;
}

const at = (url: string, sealed?: string): UrlSource =>
  sealed === undefined ? { kind: 'url', url } : { kind: 'url', url, sealed };

const pinnedOf = async (
  sources: ClosableSources,
  source: UrlSource,
): Promise<PinnedSource & { kind: 'url' }> =>
  (await sources.inspect(source, never)).pinned as PinnedSource & { kind: 'url' };

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const failsWith = (code: string): unknown => expect.objectContaining({ code });

describe('a server with ranges', () => {
  it('is pinned, read at random and streamed', async () => {
    const resource = new Resource();
    const { base, seen } = await serve(resource.handle);
    const sources = sourcesWith();
    const look = await sources.inspect(at(`${base}/f.bin`), never);
    expect(look).toEqual({
      pinned: {
        kind: 'url',
        url: `${base}/f.bin`,
        size: BYTES.length,
        etag: '"v1"',
        lastModified: resource.lastModified,
        ranges: true,
      },
      contentType: 'text/plain; charset=utf-8',
      access: 'random',
    });
    const source = await sources.open(look.pinned, never);
    await source.check(never);
    const target = Buffer.alloc(40_000);
    await source.read(60_000, target, never);
    expect(sha(target)).toBe(sha(BYTES.subarray(60_000)));
    expect(seen.at(-1)?.headers).toMatchObject({ 'if-range': '"v1"', 'accept-encoding': 'identity' });
    expect(sha(await collect(await source.stream(10, 500, never)))).toBe(sha(BYTES.subarray(10, 510)));
    expect(sha(await collect(await source.stream(0, undefined, never)))).toBe(sha(BYTES));
    await source.read(5, Buffer.alloc(0), never);
  });

  it('needs no HEAD, which presigned addresses refuse', async () => {
    const resource = new Resource();
    const { base } = await serve((request, response) => {
      if (request.method === 'HEAD') response.writeHead(403).end();
      else resource.handle(request, response);
    });
    expect((await pinnedOf(sourcesWith(), at(`${base}/f`))).size).toBe(BYTES.length);
  });

  it('may be empty', async () => {
    const resource = new Resource();
    resource.bytes = Buffer.alloc(0);
    const { base } = await serve(resource.handle);
    const sources = sourcesWith();
    const pinned = await pinnedOf(sources, at(`${base}/f`));
    expect(pinned).toMatchObject({ size: 0, etag: '"v1"' });
    const source = await sources.open(pinned, never);
    await source.check(never);
    expect(await collect(await source.stream(0, undefined, never))).toHaveLength(0);
    resource.bytes = BYTES;
    await expect(source.check(never)).rejects.toThrow(failsWith('SourceChanged'));
  });

  it('is compared by hand where its ETag is weak', async () => {
    const resource = new Resource();
    resource.etag = 'W/"v1"';
    const { base, seen } = await serve(resource.handle);
    const sources = sourcesWith();
    const pinned = await pinnedOf(sources, at(`${base}/f`));
    expect(pinned).toMatchObject({ etag: 'W/"v1"', ranges: true });
    const source = await sources.open(pinned, never);
    await source.read(0, Buffer.alloc(10), never);
    expect(seen.at(-1)?.headers['if-range']).toBeUndefined();
    resource.etag = 'W/"v2"';
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceChanged'));
  });

  it('is read in one piece when nothing tells its versions apart', async () => {
    const resource = new Resource();
    resource.etag = undefined;
    resource.lastModified = undefined;
    const { base } = await serve(resource.handle);
    const look = await sourcesWith().inspect(at(`${base}/f`), never);
    expect(look).toMatchObject({ access: 'sequential', pinned: { ranges: false, size: BYTES.length } });
  });
});

describe('a change after pinning', () => {
  const changes: [string, (resource: Resource) => void][] = [
    ['another ETag', (resource) => (resource.etag = '"v2"')],
    ['grown', (resource) => (resource.bytes = Buffer.concat([BYTES, BYTES]))],
    ['shrunk', (resource) => (resource.bytes = BYTES.subarray(0, 50))],
    ['emptied', (resource) => (resource.bytes = Buffer.alloc(0))],
    ['ranges no longer served', (resource) => (resource.ranges = false)],
  ];

  it.each(changes)('%s: no byte is read', async (how, change) => {
    const resource = new Resource();
    const { base } = await serve(resource.handle);
    const sources = sourcesWith();
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    change(resource);
    await expect(source.read(100, Buffer.alloc(100), never)).rejects.toThrow(failsWith('SourceChanged'));
    await expect(source.stream(100, 100, never)).rejects.toThrow(failsWith('SourceChanged'));
    if (how.startsWith('ranges')) return;
    await expect(source.check(never)).rejects.toThrow(failsWith('SourceChanged'));
  });

  it('of the date is noticed where there is no ETag', async () => {
    const resource = new Resource();
    resource.etag = undefined;
    const { base } = await serve(resource.handle);
    const sources = sourcesWith();
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    await source.read(0, Buffer.alloc(10), never);
    resource.lastModified = 'Wed, 01 Jan 2020 00:00:01 GMT';
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceChanged'));
    await expect(source.check(never)).rejects.toThrow(failsWith('SourceChanged'));
  });

  it('to nothing at all is a change too', async () => {
    const resource = new Resource();
    let status = 0;
    const { base } = await serve((request, response) => {
      if (status === 0) resource.handle(request, response);
      else response.writeHead(status).end();
    });
    const sources = sourcesWith();
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    for (status of [404, 410, 412, 416]) {
      await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceChanged'));
    }
    status = 404;
    await expect(source.check(never)).rejects.toThrow(failsWith('SourceChanged'));
    status = 403;
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceDenied'));
    status = 503;
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceUnavailable'));
  });

  it('is no change where the answer was only cut', async () => {
    const resource = new Resource();
    let cut = false;
    const { base } = await serve((request, response) => {
      if (!cut) return resource.handle(request, response);
      response.writeHead(206, {
        'content-range': `bytes 0-9/${BYTES.length}`,
        'content-length': 10,
        etag: '"v1"',
      });
      response.write(BYTES.subarray(0, 4), () => response.destroy());
    });
    const sources = sourcesWith();
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    cut = true;
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceUnavailable'));
    const stream = await source.stream(0, 10, never);
    await expect(collect(stream)).rejects.toThrow(failsWith('SourceUnavailable'));
  });
});

describe('a server without ranges', () => {
  it('is streamed from its start, as often as needed', async () => {
    const resource = new Resource();
    resource.ranges = false;
    const { base } = await serve(resource.handle);
    const sources = sourcesWith();
    const look = await sources.inspect(at(`${base}/f`), never);
    expect(look).toMatchObject({
      access: 'sequential',
      pinned: { ranges: false, size: BYTES.length, etag: '"v1"' },
    });
    const source = await sources.open(look.pinned, never);
    for (let round = 0; round < 2; round += 1) {
      expect(sha(await collect(await source.stream(0, undefined, never)))).toBe(sha(BYTES));
    }
    await expect(source.read(0, Buffer.alloc(1), never)).rejects.toThrow(failsWith('SourceInvalid'));
    await expect(source.stream(5, undefined, never)).rejects.toThrow(failsWith('SourceInvalid'));
    resource.etag = '"v2"';
    await expect(source.stream(0, undefined, never)).rejects.toThrow(failsWith('SourceChanged'));
  });

  it('is not believed when it only advertises them', async () => {
    const { base } = await serve((_request, response) => {
      response.writeHead(200, { 'accept-ranges': 'bytes', 'content-length': 3, etag: '"v1"' }).end('abc');
    });
    expect(await sourcesWith().inspect(at(`${base}/f`), never)).toMatchObject({ access: 'sequential' });
  });

  it('is asked once more where it dislikes the question', async () => {
    const { base } = await serve((request, response) => {
      if (request.headers.range !== undefined) response.writeHead(400).end();
      else response.writeHead(200, { 'content-length': 3 }).end('abc');
    });
    expect(await pinnedOf(sourcesWith(), at(`${base}/f`))).toMatchObject({ size: 3, ranges: false });
  });

  it('may name no length', async () => {
    let pieces = 10;
    const { base } = await serve((request, response) => {
      for (let i = 0; request.method === 'GET' && i < pieces; i += 1) response.write(BYTES);
      response.end();
    });
    const sources = sourcesWith({ url: { maxSize: 1_000_000 } });
    const pinned = await pinnedOf(sources, at(`${base}/f`));
    expect(pinned).toMatchObject({ size: null, ranges: false });
    const source = await sources.open(pinned, never);
    expect(await collect(await source.stream(0, undefined, never))).toHaveLength(1_000_000);
    pieces = 11;
    await expect(collect(await source.stream(0, undefined, never))).rejects.toThrow(
      failsWith('SourceTooLarge'),
    );
  });

  it('may name its length to HEAD only', async () => {
    const { base } = await serve((request, response) => {
      if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': 6 }).end();
      response.write('abc');
      response.end('def');
    });
    const sources = sourcesWith();
    const pinned = await pinnedOf(sources, at(`${base}/f`));
    expect(pinned.size).toBe(6);
    const source = await sources.open(pinned, never);
    expect((await collect(await source.stream(0, undefined, never))).toString()).toBe('abcdef');
  });

  it('is refused when a cut would look like the end', async () => {
    const { base } = await serve((_request, response) => {
      response.useChunkedEncodingByDefault = false;
      response.shouldKeepAlive = false;
      response.end('abc');
    });
    await expect(sourcesWith().inspect(at(`${base}/f`), never)).rejects.toThrow(failsWith('SourceInvalid'));
  });

  it('leaves no connection behind when a stream is dropped', async () => {
    let closed = 0;
    const { base } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 100 * BYTES.length, etag: '"v1"' });
      response.on('close', () => (closed += 1));
      response.write(BYTES);
    });
    const sources = sourcesWith();
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    const stream = await source.stream(0, undefined, never);
    stream.destroy();
    await expect.poll(() => closed).toBe(2);
  });
});

describe('what a server says', () => {
  it.each([
    [404, 'SourceNotFound'],
    [410, 'SourceNotFound'],
    [401, 'SourceDenied'],
    [403, 'SourceDenied'],
    [418, 'SourceInvalid'],
    [204, 'SourceInvalid'],
    [304, 'SourceInvalid'],
    [408, 'SourceUnavailable'],
    [429, 'SourceUnavailable'],
    [500, 'SourceUnavailable'],
    [503, 'SourceUnavailable'],
  ])('%i → %s', async (status, code) => {
    const { base } = await serve((_request, response) => void response.writeHead(status).end());
    await expect(sourcesWith().inspect(at(`${base}/f`), never)).rejects.toThrow(failsWith(code));
  });

  it('an encoding that was not asked for is refused', async () => {
    const { base } = await serve((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': 3 }).end('abc');
    });
    const failure = sourcesWith().inspect(at(`${base}/f`), never);
    await expect(failure).rejects.toMatchObject({
      code: 'SourceInvalid',
      message: saying('gzip'),
    });
  });

  it('more than the limit is refused', async () => {
    const resource = new Resource();
    const { base } = await serve(resource.handle);
    const failure = sourcesWith({ url: { maxSize: BYTES.length - 1 } }).inspect(at(`${base}/f`), never);
    await expect(failure).rejects.toMatchObject({ code: 'SourceTooLarge' });
    expect((await pinnedOf(sourcesWith({ url: { maxSize: BYTES.length } }), at(`${base}/f`))).size).toBe(
      BYTES.length,
    );
  });

  it('nothing is tried again later', async () => {
    const { base, port } = await serve(() => undefined);
    const server = servers.pop();
    await new Promise((done) => server?.close(done));
    const failure = sourcesWith().inspect(at(`${base}/f`), never);
    await expect(failure).rejects.toMatchObject({
      code: 'SourceUnavailable',
      retry: 'retry',
      message: saying(String(port)),
    });
  });
});

describe('time limits', () => {
  it('end a name server that never answers', async () => {
    const sources = sourcesWith({ lookup: () => undefined, timeouts: { connectMs: 500 } });
    const failure = sources.inspect(at('http://silent.test/f'), never);
    await expect(failure).rejects.toThrow(failsWith('SourceUnavailable'));
  });

  it('end an answer that never begins', async () => {
    const { base } = await serve(() => undefined);
    const failure = sourcesWith({ timeouts: { idleMs: 500 } }).inspect(at(`${base}/f`), never);
    await expect(failure).rejects.toThrow(failsWith('SourceUnavailable'));
  });

  it('end an answer that stalls', async () => {
    const resource = new Resource();
    let stall = false;
    const { base } = await serve((request, response) => {
      if (!stall) return resource.handle(request, response);
      response.writeHead(206, {
        'content-range': `bytes 0-9/${BYTES.length}`,
        'content-length': 10,
        etag: '"v1"',
      });
      response.write('abc');
    });
    const sources = sourcesWith({ timeouts: { idleMs: 500 } });
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    stall = true;
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toThrow(failsWith('SourceUnavailable'));
  });

  it('end an answer that only drips', async () => {
    const timers: NodeJS.Timeout[] = [];
    const drip = (response: ServerResponse): void => {
      response.writeHead(200, { 'content-length': 1_000_000 });
      timers.push(setInterval(() => response.write('x'), 20));
    };
    const { base } = await serve((_request, response) => drip(response));
    const sources = sourcesWith({ url: { timeoutMs: 700 } });
    const source = await sources.open(await pinnedOf(sources, at(`${base}/f`)), never);
    const failure = collect(await source.stream(0, undefined, never));
    await expect(failure).rejects.toMatchObject({
      code: 'SourceUnavailable',
      message: saying('700 ms'),
    });
    timers.forEach(clearInterval);
  });

  it('the signal ends a request, with its reason', async () => {
    const { base, seen } = await serve(() => undefined);
    const stop = new AbortController();
    const failure = expect(sourcesWith().inspect(at(`${base}/f`), stop.signal)).rejects.toThrow('stopped');
    await expect.poll(() => seen.length).toBe(1);
    stop.abort(new Error('stopped'));
    await failure;
  });
});

describe('redirects', () => {
  it('are followed, relative ones too, up to the limit', async () => {
    const resource = new Resource();
    const { base } = await serve((request, response) => {
      const hops = Number(/^\/hop(\d)$/.exec(request.url ?? '')?.[1] ?? 0);
      if (hops === 0) resource.handle(request, response);
      else response.writeHead(302, { location: hops === 1 ? 'f?sig=fresh' : `/hop${hops - 1}` }).end();
    });
    const sources = sourcesWith();
    const pinned = await pinnedOf(sources, at(`${base}/hop3`));
    expect(pinned).toMatchObject({ url: `${base}/hop3`, size: BYTES.length });
    const target = Buffer.alloc(10);
    await (await sources.open(pinned, never)).read(0, target, never);
    expect(target.equals(BYTES.subarray(0, 10))).toBe(true);
    await expect(sources.inspect(at(`${base}/hop4`), never)).rejects.toThrow(failsWith('SourceInvalid'));
  });

  it.each(['ftp://127.0.0.1/x', 'file:///etc/passwd', 'data:,x'])('to %s are refused', async (location) => {
    const { base } = await serve((_request, response) => void response.writeHead(302, { location }).end());
    await expect(sourcesWith().inspect(at(`${base}/f`), never)).rejects.toThrow(
      failsWith('SourceNotAllowed'),
    );
  });

  it('to a private address are refused, however it is written', async () => {
    const hidden = await serve((_request, response) => void response.end('secret'));
    let location = '';
    const front = await serve((_request, response) => void response.writeHead(302, { location }).end());
    const sources = sourcesWith({ url: { allow: [`127.0.0.1:${front.port}`] } });
    const hosts = [
      '127.0.0.1',
      '127.1',
      '0x7f.1',
      '2130706433',
      'localhost',
      '[::ffff:127.0.0.1]',
      '[::1]',
      '0.0.0.0',
    ];
    for (const host of [...hosts, '169.254.169.254', '[64:ff9b::7f00:1]', '127.0.0.1.']) {
      location = `http://${host}:${hidden.port}/`;
      const failure = sources.inspect(at(`${front.base}/f`), never);
      await expect(failure, host).rejects.toThrow(failsWith('SourceNotAllowed'));
    }
    expect(hidden.seen).toHaveLength(0);
  });

  it('carry credentials to no other origin, not even back again', async () => {
    const resource = new Resource();
    const other = await serve((_request, response) => {
      response.writeHead(302, { location: `${front.base}/back` }).end();
    });
    const front = await serve((request, response) => {
      if (request.url === '/f?sig=1') response.writeHead(307, { location: '/same' }).end();
      else if (request.url === '/same') response.writeHead(307, { location: other.base }).end();
      else resource.handle(request, response);
    });
    const full = `${front.base}/f?sig=1`.replace('//', '//me:p%40ss@');
    await pinnedOf(sourcesWith(), at(`${front.base}/f`, full));
    const basic = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    const sent = front.seen.map(({ url, headers }) => [url, headers.authorization]);
    expect(sent).toEqual([
      ['/f?sig=1', basic],
      ['/same', basic],
      ['/back', undefined],
    ]);
    expect(other.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

describe('TLS', () => {
  it('checks the name, and goes down to plain http for nobody', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sources-tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const subject = ['-subj', '/CN=good.test', '-addext', 'subjectAltName=DNS:good.test'];
    const request = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
    ];
    execFileSync('openssl', [...request, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
    const ca = await readFile(cert, 'utf8');
    const resource = new Resource();
    const plain = await serve(resource.handle);
    const server = createTlsServer({ key: await readFile(key), cert: ca }, (asked, response) => {
      if (asked.url === '/down') response.writeHead(302, { location: `${plain.base}/f` }).end();
      else resource.handle(asked, response);
    });
    servers.push(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    await rm(folder, { recursive: true });

    const lookup: LookupFunction = (_host, _options, callback) =>
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    const sources = sourcesWith({ lookup, ca });
    expect(await pinnedOf(sources, at(`https://good.test:${port}/f`))).toMatchObject({ ranges: true });
    const down = sources.inspect(at(`https://good.test:${port}/down`), never);
    await expect(down).rejects.toThrow(failsWith('SourceNotAllowed'));
    expect(plain.seen).toHaveLength(0);
    const wrongName = sources.inspect(at(`https://bad.test:${port}/f`), never);
    await expect(wrongName).rejects.toMatchObject({ code: 'SourceInvalid' });
    const untrusted = sourcesWith({ lookup }).inspect(at(`https://good.test:${port}/f`), never);
    await expect(untrusted).rejects.toMatchObject({ code: 'SourceInvalid' });
    const refused = sourcesWith({ lookup, ca, url: { allow: [] } }).inspect(
      at(`https://good.test:${port}/f`),
      never,
    );
    await expect(refused).rejects.toMatchObject({ code: 'SourceNotAllowed' });
  });
});

describe('addresses', () => {
  it('private ones are refused before a byte is sent', async () => {
    const { base, port, seen } = await serve((_request, response) => void response.end('x'));
    const sources = sourcesWith({ url: { allow: [] } });
    for (const url of [
      `${base}/f`,
      `http://localhost:${port}/f`,
      `http://[::1]:${port}/f`,
      'http://169.254.169.254/',
    ]) {
      await expect(sources.inspect(at(url), never), url).rejects.toMatchObject({ code: 'SourceNotAllowed' });
    }
    expect(seen).toHaveLength(0);
  });

  it('a name that changes its answer is judged at each connection', async () => {
    const resource = new Resource();
    const { port, seen } = await serve((request, response) => {
      response.setHeader('connection', 'close');
      resource.handle(request, response);
    });
    let answer = '127.0.0.1';
    const asked: string[] = [];
    const lookup: LookupFunction = (hostname, _options, callback) => {
      asked.push(hostname);
      callback(null, [{ address: answer, family: 4 }]);
    };
    const sources = sourcesWith({ lookup });
    const pinned = await pinnedOf(sources, at(`http://rebinding.test:${port}/f`));
    const source = await sources.open(pinned, never);
    const requests = seen.length;
    answer = '127.0.0.2';
    await expect(source.read(0, Buffer.alloc(10), never)).rejects.toMatchObject({
      code: 'SourceNotAllowed',
      message: saying('127.0.0.2'),
    });
    expect(seen).toHaveLength(requests);
    expect(asked.length).toBeGreaterThan(1);
  });

  it('of several answers only the permitted are used', async () => {
    const resource = new Resource();
    const { port } = await serve(resource.handle);
    const lookup: LookupFunction = (_hostname, _options, callback) => {
      callback(null, [
        { address: '10.0.0.1', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ]);
    };
    expect(await pinnedOf(sourcesWith({ lookup }), at(`http://both.test:${port}/f`))).toMatchObject({
      ranges: true,
    });
  });

  it('a host may be allowed by its name', async () => {
    const resource = new Resource();
    const { port } = await serve(resource.handle);
    const lookup: LookupFunction = (_hostname, _options, callback) =>
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    const sources = sourcesWith({ lookup, url: { allow: ['intra.test'] } });
    expect(await pinnedOf(sources, at(`http://intra.test:${port}/f`))).toMatchObject({ ranges: true });
    const other = sources.inspect(at(`http://extra.test:${port}/f`), never);
    await expect(other).rejects.toThrow(failsWith('SourceNotAllowed'));
  });

  it.each(['ftp://example.com/x', 'file:///etc/passwd', 'javascript:1'])('%s is not fetched', async (url) => {
    await expect(sourcesWith().inspect(at(url), never)).rejects.toThrow(failsWith('SourceNotAllowed'));
  });

  it('secrets appear in no error', async () => {
    const { base, port } = await serve((_request, response) => void response.writeHead(403).end('no'));
    const full = `http://me:hunter2@127.0.0.1:${port}/f?sig=abcdef`;
    const sources = sourcesWith();
    const bad: UrlSource[] = [
      at(`${base}/f`, full),
      at(`${base}/other`, full),
      at(full),
      at(`${base}/f`, 'http://me:hunter2@exa mple/?sig=abcdef'),
      at('http://me:hunter2@exa mple/?sig=abcdef'),
    ];
    for (const source of bad) {
      const error = await sources.inspect(source, never).then(
        () => undefined,
        (reason: Error) => reason,
      );
      expect(error).toMatchObject({ name: 'LongshoreError' });
      expect(deepText(error)).not.toMatch(/hunter2|abcdef|bWU6/);
    }
  });
});

/** Everything that a log would show of an error. */
function deepText(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? '';
  return [error.stack, JSON.stringify({ ...error }), deepText(error.cause)].join('\n');
}
