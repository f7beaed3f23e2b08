/**
 * An S3 server for millions of small objects: it keeps neither bytes nor keys, only how often each key was written
 * (`KeyTally`). It answers PutObject, HeadObject and HeadBucket. Signatures are not looked at; every bucket exists.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KeyTally } from './key-tally.js';
import { errorXml, recognise } from './s3-operations.js';

export interface SinkCounts {
  /** PutObject requests that were answered. */
  puts: number;
  heads: number;
  /** Requests of another kind, which were refused. */
  refused: number;
  distinct: number;
  /** Keys that were written more than once. */
  twice: number;
  digest: string;
  /** Unix time of the first PutObject, ms; 0 before it. */
  firstAt: number;
}

export interface CountingSink {
  endpoint: string;
  tally: KeyTally;
  counts(): SinkCounts;
  close(): Promise<void>;
}

/** @param keys how many different keys there may be */
export async function startCountingSink(keys: number): Promise<CountingSink> {
  const sink = new Sink(new KeyTally(keys));
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 60_000 }, (request, response) =>
    sink.serve(request, response),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tally: sink.tally,
    counts: () => sink.counts(),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

class Sink {
  private heads = 0;
  private refused = 0;
  private firstAt = 0;

  constructor(readonly tally: KeyTally) {}

  counts(): SinkCounts {
    const { heads, refused, firstAt } = this;
    const { total, distinct, twice, digest } = this.tally;
    return { puts: total, heads, refused, distinct, twice, digest, firstAt };
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    const { op, bucket, key } = recognise(request.method ?? '', request.url ?? '/', request.headers);
    const name = `${bucket}/${key}`;
    if (op === 'PutObject') return this.put(name, request, response);
    request.resume();
    if (op === 'HeadBucket') return answer(response, 200);
    if (op === 'HeadObject') return this.head(name, response);
    this.refused += 1;
    answer(response, 501, { 'content-type': 'application/xml' }, errorXml('NotImplemented', op));
  }

  /** An object is there once its whole body is: a request that is cut off leaves nothing. */
  private put(name: string, request: IncomingMessage, response: ServerResponse): void {
    if (this.firstAt === 0) this.firstAt = Date.now();
    let size = 0;
    request.on('data', (chunk: Buffer) => (size += chunk.length));
    request.on('end', () => {
      this.tally.add(name, size);
      const crc32 = request.headers['x-amz-checksum-crc32'];
      const echoed = typeof crc32 === 'string' ? { 'x-amz-checksum-crc32': crc32 } : {};
      answer(response, 200, { etag: ETAG, ...echoed });
    });
  }

  private head(name: string, response: ServerResponse): void {
    this.heads += 1;
    if (this.tally.count(name) === 0) return answer(response, 404);
    const headers = { 'content-length': String(this.tally.size(name)), etag: ETAG };
    answer(response, 200, { ...headers, 'last-modified': new Date(this.firstAt).toUTCString() });
  }
}

/** ETags are opaque, and nothing here asks for one again. */
const ETAG = '"0123456789abcdef0123456789abcdef"';

function answer(
  response: ServerResponse,
  status: number,
  headers: Record<string, string> = {},
  body = '',
): void {
  response.writeHead(status, { 'content-length': String(Buffer.byteLength(body)), ...headers });
  response.end(body);
}
