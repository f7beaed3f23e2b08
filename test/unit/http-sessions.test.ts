/** The HTTP client of sessions against a server that answers as it is told. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { crc32 } from '@node-rs/crc32';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StreamPieces } from '../../src/client/cli/stream-pieces.js';
import { FileChunks } from '../../src/client/http/file-chunks.js';
import { inLanes, Sender } from '../../src/client/http/sender.js';
import { base64Crc32, HttpSessions } from '../../src/client/http/sessions.js';

interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

type Said = { status: number; body?: unknown; headers?: Record<string, string> };
type Answer = Said | 'reset';

let server: Server;
let url: string;
let seen: Seen[];
/** The next answers; the last one stays. */
let answers: Answer[];
const signal = new AbortController().signal;

const SESSION = {
  ...{
    upload_id: 'up',
    node_id: 'up',
    connector_id: null,
    name: 'n',
    state: 'UPLOADING',
    bucket: 'b',
    key: 'k',
  },
  ...{ content_type: 'a/b', metadata: {}, mode: 'chunks', chunk_size: 5, expected_size: 12, size: null },
  ...{ received: { count: 1, ranges: [[0, 0]] }, received_bytes: 5, missing: { count: 2, ranges: [[1, 2]] } },
  ...{ generation: 1, location: null, etag: null, version_id: null, checksum: null, verification: null },
  ...{ error_code: null, error_message: null, created_at: '2026-01-01T00:00:00Z', expires_at: null },
  ...{ completed_at: null, web_ui: null },
};
const problem = (status: number, code: string): Said => ({
  status,
  body: { code, detail: `it is ${code}`, hint: 'do this' },
});
const receipt = { status: 200, body: { etag: '"e"' } };

beforeEach(async () => {
  seen = [];
  answers = [];
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url: path, headers } = request;
      seen.push({ method, url: path, headers, body: Buffer.concat(chunks) });
      const answer = (answers.length > 1 ? answers.shift() : answers[0]) ?? { status: 500 };
      if (answer === 'reset') return void request.socket.destroy();
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
      response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function withApi<T>(
  work: (api: HttpSessions) => Promise<T>,
  patienceMs = 2000,
  key?: string,
): Promise<T> {
  const api = new HttpSessions({ url, patienceMs, key });
  try {
    return await work(api);
  } finally {
    await api.close();
  }
}

describe('requests', () => {
  test('a session is read into our names, and the key goes along', async () => {
    answers = [{ status: 200, body: SESSION }];
    const session = await withApi((api) => api.get('up', signal), 100, 'lsk_x');
    expect(session).toMatchObject({
      id: 'up',
      chunkSize: 5,
      expectedSize: 12,
      received: { ranges: [[0, 0]] },
    });
    expect(seen[0]).toMatchObject({ method: 'GET', url: '/api/v1/sessions/up' });
    expect(seen[0]?.headers.authorization).toBe('Bearer lsk_x');
  });

  test('what passes is tried again: a reset, 503, and a gateway that knows no problems', async () => {
    answers = ['reset', problem(503, 'CatalogUnavailable'), { status: 502, body: 'bad gateway' }, receipt];
    const bytes = Buffer.from('hello');
    const body = { make: () => bytes, length: 5, crc32: crc32(bytes) };
    await withApi((api) => api.send('up', 3, body, signal));
    expect(seen).toHaveLength(4);
    for (const { method, url: path, headers, body: sent } of seen) {
      expect([method, path, sent.toString()]).toEqual(['PUT', '/api/v1/sessions/up/chunks/3', 'hello']);
      expect(headers).toMatchObject({
        'content-length': '5',
        'x-amz-checksum-crc32': base64Crc32(crc32(bytes)),
      });
    }
  });

  test('what does not pass is thrown at once, with its code and hint', async () => {
    answers = [problem(409, 'PartsMissing')];
    const failure = withApi((api) => api.complete('up', { chunks: 3, size: 12 }, signal));
    await expect(failure).rejects.toMatchObject({
      code: 'PartsMissing',
      message: 'it is PartsMissing',
      hint: 'do this',
    });
    expect(seen).toHaveLength(1);
  });

  test('503 for a reason that will not pass is not tried again', async () => {
    answers = [problem(503, 'NoWorkerForSource')];
    await expect(withApi((api) => api.get('up', signal))).rejects.toMatchObject({
      code: 'NoWorkerForSource',
    });
    expect(seen).toHaveLength(1);
  });

  test('patience ends', async () => {
    answers = [problem(503, 'TemporalUnavailable')];
    await expect(withApi((api) => api.get('up', signal), 500)).rejects.toMatchObject({
      code: 'TemporalUnavailable',
    });
    expect(seen.length).toBeGreaterThan(1);
  });

  test('nobody there is ApiUnavailable, some other server InvalidConfig', async () => {
    answers = [{ status: 404, body: { message: 'no such page' } }];
    await expect(withApi((api) => api.get('up', signal))).rejects.toMatchObject({ code: 'InvalidConfig' });
    answers = [{ status: 200, body: { hello: 'world' } }];
    await expect(withApi((api) => api.get('up', signal))).rejects.toMatchObject({ code: 'InvalidConfig' });
    const nobody = new HttpSessions({ url: 'http://127.0.0.1:9', patienceMs: 100 });
    await expect(nobody.get('up', signal)).rejects.toMatchObject({ code: 'ApiUnavailable' });
    await nobody.close();
  });

  test('what no line failed with is thrown at once', async () => {
    answers = [receipt];
    const made: unknown[] = [];
    const make = (): Buffer => {
      made.push('once');
      throw new RangeError('no such byte');
    };
    const sent = withApi((api) => api.send('up', 0, { make, length: 1, crc32: 0 }, signal));
    await expect(sent).rejects.toMatchObject({ code: 'Internal' });
    const unreadable = new Readable({
      read() {
        this.destroy(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' }));
      },
    });
    const broken = { make: () => unreadable, length: 1, crc32: 0 };
    await expect(withApi((api) => api.send('up', 0, broken, signal))).rejects.toMatchObject({
      code: 'Internal',
    });
    expect(made).toHaveLength(1);
  });

  test('a customer’s key goes over TLS or loopback only', async () => {
    answers = [{ status: 200, body: SESSION }];
    const encryption = { type: 'SSE_C' as const, key: Buffer.alloc(32), md5: 'x' };
    const ask = { id: 'up', name: 'n', bucket: 'b', key: 'k', encryption };
    await withApi((api) => api.begin(ask, signal));
    const abroad = new HttpSessions({ url: 'http://api.example:1', patienceMs: 100 });
    await expect(abroad.begin(ask, signal)).rejects.toMatchObject({ code: 'InsecureTransport' });
    const stopped = AbortSignal.abort(new Error('it would have gone'));
    const plain = abroad.begin({ ...ask, encryption: { type: 'SSE_S3' } }, stopped);
    await expect(plain).rejects.toThrow('it would have gone');
    await abroad.close();
  });

  test('an abort ends the wait for another try, with its reason', async () => {
    answers = [{ ...problem(503, 'SlowDown'), headers: { 'retry-after': '9' } }];
    const stop = new AbortController();
    const reason = new Error('enough');
    const asked = withApi((api) => api.get('up', stop.signal), 60_000);
    setTimeout(() => stop.abort(reason), 200);
    await expect(asked).rejects.toBe(reason);
    expect(seen).toHaveLength(1);
  });
});

describe('the sender', () => {
  test('reads a chunk anew that came damaged, and knows the checksum of all', async () => {
    answers = [problem(400, 'ChunkDamaged'), receipt];
    const pieces = ['hello', 'world', '!'].map((text) => Buffer.from(text));
    const figures: { bytes: number; sent: number }[] = [];
    let reads = 0;
    const sum = await withApi(async (api) => {
      const sender = new Sender({ api, id: 'up', signal, onSent: (each) => figures.push(each) });
      await inLanes(1, pieces.entries(), async ([chunk, bytes]) => {
        await sender.send(chunk, () => {
          reads += 1;
          return Promise.resolve({ make: () => bytes, length: bytes.length, crc32: crc32(bytes) });
        });
      });
      expect(sender.crc32(4)).toBeUndefined();
      return sender.crc32(3);
    });
    expect(sum).toBe(crc32('helloworld!'));
    expect(reads).toBe(4);
    expect(figures).toEqual([
      { bytes: 5, sent: 10 },
      { bytes: 5, sent: 5 },
      { bytes: 1, sent: 1 },
    ]);
  });

  test('lanes take what comes in its order, no more at once than there are, and stop at a failure', async () => {
    let running = 0;
    let most = 0;
    const taken: number[] = [];
    await inLanes(3, [0, 1, 2, 3, 4, 5, 6].values(), async (item) => {
      taken.push(item);
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
    });
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(most).toBe(3);
    const started: number[] = [];
    const failing = inLanes(2, [0, 1, 2, 3, 4, 5].values(), async (item) => {
      started.push(item);
      await Promise.resolve();
      if (item === 1) throw new Error('one');
    });
    await expect(failing).rejects.toThrow('one');
    expect(started.length).toBeLessThan(6);
  });
});

describe('a stream in pieces', () => {
  test.each([
    [[], [0]],
    [['abcde'], [5]],
    [['abcdef'], [5, 1]],
    [
      ['a', 'bcdefgh', 'ij', 'k'],
      [5, 5, 1],
    ],
  ])('%j is %j bytes', async (chunks, lengths) => {
    const pieces = new StreamPieces(Readable.from(chunks.map((text) => Buffer.from(text))), signal);
    const found: Buffer[] = [];
    do found.push(Buffer.from(await pieces.fill(Buffer.alloc(5))));
    while (!(await pieces.isAtEnd()));
    expect(found.map(({ length }) => length)).toEqual(lengths);
    expect(Buffer.concat(found).toString()).toBe(chunks.join(''));
  });

  test('what was read too early comes again', async () => {
    const pieces = new StreamPieces(Readable.from([Buffer.from('abcdef')]), signal);
    const first = Buffer.from(await pieces.fill(Buffer.alloc(4)));
    expect(await pieces.isAtEnd()).toBe(false);
    pieces.unread(first);
    expect((await pieces.fill(Buffer.alloc(9))).toString()).toBe('abcdef');
    expect(await pieces.isAtEnd()).toBe(true);
  });

  test('a stream that fails, and one that stays silent', async () => {
    const broken = new Readable({ read: () => undefined });
    broken.destroy(Object.assign(new Error('broken'), { code: 'EIO' }));
    await expect(new StreamPieces(broken, signal).isAtEnd()).rejects.toMatchObject({
      code: 'SourceUnavailable',
    });
    const stop = new AbortController();
    const silent = new StreamPieces(new Readable({ read: () => undefined }), stop.signal).isAtEnd();
    const reason = new Error('enough');
    stop.abort(reason);
    await expect(silent).rejects.toBe(reason);
  });
});

describe('a file in chunks', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'longshore-chunks-'));
    path = join(folder, 'f');
    await writeFile(path, 'helloworld!');
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('is read where it lies, held or streamed, with the same checksum', async () => {
    const file = await FileChunks.open(path);
    const extent = { offset: 5, length: 6 };
    const held = await file.body(extent, Buffer.alloc(8));
    const streamed = await file.body(extent, undefined);
    expect(Buffer.from(held.make() as Buffer).toString()).toBe('world!');
    expect(Buffer.concat(await (streamed.make() as Readable).toArray()).toString()).toBe('world!');
    expect([held.crc32, streamed.crc32]).toEqual([crc32('world!'), crc32('world!')]);
    await file.close();
  });

  test('without a byte has one chunk without a byte, however large chunks are', async () => {
    await writeFile(path, '');
    const file = await FileChunks.open(path);
    const { make, length, crc32: sum } = await file.body({ offset: 0, length: 0 }, undefined);
    expect([make(), length, sum]).toEqual([Buffer.alloc(0), 0, crc32('')]);
    await file.close();
  });

  test('that changes is noticed, and what is none is refused', async () => {
    const file = await FileChunks.open(path);
    await file.checkUnchanged();
    await utimes(path, 1, 1);
    await expect(file.checkUnchanged()).rejects.toMatchObject({ code: 'SourceChanged' });
    await writeFile(path, 'short');
    await expect(file.body({ offset: 5, length: 6 }, Buffer.alloc(8))).rejects.toMatchObject({
      code: 'SourceChanged',
    });
    await file.close();
    await expect(FileChunks.open(folder)).rejects.toMatchObject({ code: 'SourceInvalid' });
    await expect(FileChunks.open(join(folder, 'no'))).rejects.toMatchObject({ code: 'SourceNotFound' });
  });
});
