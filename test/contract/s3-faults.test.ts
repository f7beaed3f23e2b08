/** How both implementations take a server that misbehaves in ways that no real one does on demand. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { createAdaptiveLimiter } from '../../src/infra/s3/aimd.js';
import type { CredentialSource } from '../../src/infra/s3/credentials.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { createLeanStore } from '../../src/infra/s3/lean-store.js';
import { createSdkStore } from '../../src/infra/s3/sdk-store.js';
import type { ObjectStore, StoreConfig } from '../../src/infra/s3/store.js';

const SOCKET_TIMEOUT = 400;
const keys: CredentialSource = () => Promise.resolve({ accessKeyId: 'AKID', secretAccessKey: 'SECRET' });

const KINDS = {
  sdk: (config: StoreConfig, credentials = keys): ObjectStore => createSdkStore(config, credentials),
  lean: (config: StoreConfig, credentials = keys): ObjectStore =>
    createLeanStore(config, createSdkStore(config, credentials), {
      credentials,
      limiter: createAdaptiveLimiter({ max: config.maxConnections }),
    }),
};

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const running: { server: Server; sockets: Set<Socket>; stores: ObjectStore[] }[] = [];

/** A server that answers as told, and what a store needs to know of it. */
async function serving(
  handler: Handler,
): Promise<{ config: StoreConfig; keep: (store: ObjectStore) => ObjectStore }> {
  const server = createServer(handler);
  const entry = { server, sockets: new Set<Socket>(), stores: [] as ObjectStore[] };
  server.on('connection', (socket) => entry.sockets.add(socket));
  running.push(entry);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const config: StoreConfig = {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    accessKeyId: 'AKID',
    secretAccessKey: 'SECRET',
    maxConnections: 4,
    connectTimeoutMs: 1000,
    socketTimeoutMs: SOCKET_TIMEOUT,
  };
  const keep = (store: ObjectStore): ObjectStore => {
    entry.stores.push(store);
    return store;
  };
  return { config, keep };
}

afterEach(async () => {
  for (const { server, sockets, stores } of running.splice(0)) {
    for (const store of stores) store.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Reads the body to its end, then answers. */
const answering =
  (status: number, body: string, headers: Record<string, string> = {}): Handler =>
  (request, response) => {
    request.resume().on('end', () => response.writeHead(status, headers).end(body));
  };

const errorXml = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>said &lt;${code}&gt;</Message></Error>`;

const live = (): AbortSignal => new AbortController().signal;
const ref = { bucket: 'bucket', key: 'a/key' };
const upload = { ...ref, s3UploadId: 'upload-1' };
const complete = { ...upload, parts: [{ partNumber: 1, etag: '"e"' }], size: 1 };
const source = { ...ref, ifMatch: '"e"' };
const OK = { etag: '"e"' };

describe.each(Object.entries(KINDS))('%s store', (kind, create) => {
  describe('an error under 200', () => {
    it.each([
      ['as it should be', errorXml('InternalError'), 'S3Unavailable'],
      ['with a newline at its end', `${errorXml('InternalError')}\n`, 'S3Unavailable'],
      ['in capitals', errorXml('SlowDown').toUpperCase().replace('SLOWDOWN', 'SlowDown'), 'SlowDown'],
      ['after white space that kept the line alive', `   \n  ${errorXml('SlowDown')}\r\n`, 'SlowDown'],
      ['that nobody knows', `${errorXml('SomethingNew')} `, 'S3Unavailable'],
      ['which is empty', '', 'S3Unavailable'],
      [
        'which is a result without an ETag',
        '<CompleteMultipartUploadResult></CompleteMultipartUploadResult>',
        'S3Unavailable',
      ],
    ])('%s fails Complete, to be tried again', async (_what, body, code) => {
      const { config, keep } = await serving(answering(200, body));
      const store = keep(create(config));
      const failure = { code, retry: 'retry', op: 'CompleteMultipartUpload' };
      await expect(store.completeMultipartUpload(complete, live())).rejects.toMatchObject(failure);
    });

    it('fails a copy, and calls that carry bytes', async () => {
      const { config, keep } = await serving(answering(200, `${errorXml('InternalError')}\n`));
      const store = keep(create(config));
      const failure = { code: 'S3Unavailable' };
      await expect(store.copyObject({ ...ref, source }, live())).rejects.toMatchObject(failure);
      const part = { ...upload, partNumber: 1, source, offset: 0, length: 1 };
      await expect(store.uploadPartCopy(part, live())).rejects.toMatchObject(failure);
      await expect(store.putObject({ ...ref, body: Buffer.from('x') }, live())).rejects.toMatchObject(
        failure,
      );
    });
  });

  it.each([
    [503, '', 'SlowDown'],
    [503, 'SlowDown', 'SlowDown'],
    [429, '', 'SlowDown'],
    [500, 'InternalError', 'S3Unavailable'],
    [502, '', 'S3Unavailable'],
    [507, '', 'StorageFull'],
    [400, 'RequestTimeout', 'S3Unavailable'],
    [400, 'ExpiredToken', 'ExpiredCredentials'],
    [400, 'EntityTooSmall', 'InvalidRequest'],
    [403, 'AccessDenied', 'AccessDenied'],
    [403, 'RequestTimeTooSkewed', 'InvalidRequest'],
    [409, 'ConditionalRequestConflict', 'UploadConflict'],
    [412, 'PreconditionFailed', 'PreconditionFailed'],
    [501, 'NotImplemented', 'NotSupported'],
  ])('takes %i %s for what it is', async (status, said, code) => {
    const { config, keep } = await serving(answering(status, said === '' ? '<html>' : errorXml(said)));
    const store = keep(create(config));
    const sent = store.uploadPart({ ...upload, partNumber: 1, body: Buffer.from('x') }, live());
    await expect(sent).rejects.toMatchObject({ code, op: 'UploadPart', key: 's3://bucket/a/key' });
  });

  it('says what the server said', async () => {
    const { config, keep } = await serving(answering(400, errorXml('EntityTooSmall')));
    const sent = keep(create(config)).putObject({ ...ref, body: Buffer.from('x') }, live());
    await expect(sent).rejects.toThrow(
      /PutObject s3:\/\/bucket\/a\/key: HTTP 400, EntityTooSmall: said <EntityTooSmall>/,
    );
  });

  it('corrects a wrong clock once, by the Date of the server', async () => {
    const ahead = Date.now() + 20 * 60_000;
    const dates: number[] = [];
    const { config, keep } = await serving((request, response) => {
      const [, y, mo, d, h, mi, s] =
        /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(request.headers['x-amz-date'])) ?? [];
      const theirs = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
      dates.push(theirs);
      const fine = Math.abs(theirs - ahead) < 60_000;
      const headers = { ...OK, date: new Date(ahead).toUTCString() };
      answering(fine ? 200 : 403, fine ? '' : errorXml('RequestTimeTooSkewed'), headers)(request, response);
    });
    const store = keep(create(config));
    for (let round = 0; round < 2; round += 1) {
      const sent = await store.uploadPart({ ...upload, partNumber: 1, body: Buffer.from('x') }, live());
      expect(sent.etag).toBe('"e"');
    }
    expect(dates).toHaveLength(3);
  });

  it('asks for new keys once when a token ended before its time', async () => {
    let fresh = false;
    const credentials: CredentialSource = (options) => {
      if (options?.forceRefresh === true) fresh = true;
      const sessionToken = fresh ? 'new-token' : 'old-token';
      return Promise.resolve({ accessKeyId: 'AKID', secretAccessKey: 'SECRET', sessionToken });
    };
    Object.assign(credentials, { memoized: true });
    const { config, keep } = await serving((request, response) => {
      const valid = request.headers['x-amz-security-token'] === 'new-token';
      answering(valid ? 200 : 400, valid ? '' : errorXml('ExpiredToken'), OK)(request, response);
    });
    const store = keep(create(config, credentials));
    const sent = await store.putObject({ ...ref, body: Buffer.from('x') }, live());
    expect(sent.etag).toBe('"e"');
  });

  describe('a connection that stalls', () => {
    it.each([
      ['before the answer', 1024, (request: IncomingMessage) => request.resume()],
      ['while the body is sent', 48 * MiB, (request: IncomingMessage) => request.pause()],
    ])('%s ends by the time limit', async (_when, size, stall) => {
      const { config, keep } = await serving((request) => void stall(request));
      const store = keep(create(config));
      const started = performance.now();
      const sent = store.uploadPart({ ...upload, partNumber: 1, body: Buffer.alloc(size) }, live());
      await expect(sent).rejects.toMatchObject({ code: 'S3Unavailable' });
      expect(performance.now() - started).toBeGreaterThan(SOCKET_TIMEOUT * 0.7);
      expect(performance.now() - started).toBeLessThan(SOCKET_TIMEOUT * (kind === 'lean' ? 3 : 5));
    });

    it('ends at once when the signal says so', async () => {
      const controller = new AbortController();
      const reason = new Error('enough');
      let closed: Promise<unknown> | undefined;
      const { config, keep } = await serving((request) => {
        closed = new Promise((resolve) => request.socket.once('close', resolve));
        request.resume();
        controller.abort(reason);
      });
      const store = keep(create({ ...config, socketTimeoutMs: 60_000 }));
      const started = performance.now();
      const part = { ...upload, partNumber: 1, body: Buffer.alloc(16 * MiB) };
      await expect(store.uploadPart(part, controller.signal)).rejects.toBe(reason);
      expect(closed).toBeDefined();
      await closed;
      expect(performance.now() - started).toBeLessThan(1000);
    });

    it('is not one on which the body moves slowly', async () => {
      const { config, keep } = await serving((request, response) => {
        // Three time limits long, yet never quiet for one.
        const timer = setInterval(() => request.resume(), SOCKET_TIMEOUT / 4);
        let seen = 0;
        request.on('data', (chunk: Buffer) => {
          seen += chunk.length;
          if (seen > MiB * 2) {
            seen = 0;
            request.pause();
          }
        });
        request.on('end', () => {
          clearInterval(timer);
          response.writeHead(200, OK).end();
        });
      });
      const store = keep(create(config));
      const started = performance.now();
      await store.uploadPart({ ...upload, partNumber: 1, body: Buffer.alloc(24 * MiB) }, live());
      expect(performance.now() - started).toBeGreaterThan(SOCKET_TIMEOUT * 2);
    });
  });

  it('takes a refused, and a cut, connection for a passing failure', async () => {
    const { config, keep } = await serving((request) => request.socket.destroy());
    const store = keep(create(config));
    const part = { ...upload, partNumber: 1, body: Buffer.from('x') };
    await expect(store.uploadPart(part, live())).rejects.toMatchObject({ code: 'S3Unavailable' });
    const nobody = keep(create({ ...config, endpoint: 'http://127.0.0.1:1' }));
    await expect(nobody.uploadPart(part, live())).rejects.toMatchObject({ code: 'S3Unavailable' });
  });
});

describe('production store', () => {
  it('tries a part again until the server takes it, and slows down', async () => {
    let calls = 0;
    const { config, keep } = await serving((request, response) => {
      calls += 1;
      answering(calls < 3 ? 503 : 200, calls < 3 ? errorXml('SlowDown') : '', OK)(request, response);
    });
    const store = createObjectStore(config);
    keep(store);
    await store.uploadPart({ ...upload, partNumber: 1, body: Buffer.from('x') }, live());
    expect(calls).toBe(3);
    expect(store.limiter.limit).toBeLessThan(config.maxConnections);
  });

  it('tries neither Create nor Complete again', async () => {
    let calls = 0;
    const { config, keep } = await serving((request, response) => {
      calls += 1;
      answering(503, '')(request, response);
    });
    const store = keep(createObjectStore(config));
    await expect(store.createMultipartUpload({ ...ref, checksum: true }, live())).rejects.toMatchObject({
      code: 'SlowDown',
    });
    await expect(store.completeMultipartUpload(complete, live())).rejects.toMatchObject({ code: 'SlowDown' });
    expect(calls).toBe(2);
  });
});
