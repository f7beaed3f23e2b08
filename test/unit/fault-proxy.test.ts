import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { faults, startFaultProxy } from '../helpers/fault-proxy.js';
import type { FaultProxy } from '../helpers/fault-proxy.js';
import { startNullSink } from '../helpers/null-sink.js';
import type { NullSink } from '../helpers/null-sink.js';
import { eventually } from '../helpers/wait.js';

const OBJECT = { Bucket: 'b', Key: 'a b/ü&.bin' };
const BODY = randomBytes(300_000);

let sink: NullSink;
let proxy: FaultProxy;
let s3: S3Client;

beforeEach(async () => {
  sink = await startNullSink();
  proxy = await startFaultProxy(sink.endpoint);
  s3 = client(proxy.endpoint);
});

afterEach(async () => {
  s3.destroy();
  await proxy.close();
  await sink.close();
});

function client(endpoint: string): S3Client {
  return new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
}

function base64Crc(bytes: Buffer): string {
  const four = Buffer.alloc(4);
  four.writeUInt32BE(crc32(bytes));
  return four.toString('base64');
}

async function put(): Promise<unknown> {
  return await s3.send(new PutObjectCommand({ ...OBJECT, Body: BODY }));
}

describe('the null sink behind the proxy', () => {
  it('takes a multipart upload, pages its parts and combines their CRCs', async () => {
    const pieces = [randomBytes(5000), randomBytes(7000), randomBytes(11)];
    const { UploadId } = await s3.send(
      new CreateMultipartUploadCommand({ ...OBJECT, Metadata: { token: 'x' } }),
    );
    for (const [at, Body] of pieces.entries()) {
      await s3.send(
        new UploadPartCommand({
          ...OBJECT,
          UploadId,
          PartNumber: at + 1,
          Body,
          ChecksumCRC32: base64Crc(Body),
        }),
      );
    }
    const first = await s3.send(new ListPartsCommand({ ...OBJECT, UploadId, MaxParts: 2 }));
    expect(first.IsTruncated).toBe(true);
    const second = await s3.send(
      new ListPartsCommand({ ...OBJECT, UploadId, PartNumberMarker: first.NextPartNumberMarker }),
    );
    const listed = [...(first.Parts ?? []), ...(second.Parts ?? [])];
    expect(listed.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
      [1, 5000],
      [2, 7000],
      [3, 11],
    ]);
    const Parts = listed.map(({ PartNumber, ETag }) => ({ PartNumber, ETag }));
    await s3.send(new CompleteMultipartUploadCommand({ ...OBJECT, UploadId, MultipartUpload: { Parts } }));
    const head = await s3.send(new HeadObjectCommand({ ...OBJECT, ChecksumMode: 'ENABLED' }));
    const whole = Buffer.concat(pieces);
    expect(head).toMatchObject({
      ContentLength: whole.length,
      ChecksumCRC32: base64Crc(whole),
      Metadata: { token: 'x' },
    });
    expect(proxy.calls('UploadPart')).toBe(3);
    expect(proxy.calls('UploadPart', { part: 2 })).toBe(1);
    expect([...proxy.parts()]).toEqual(
      pieces.map((piece, at) => [at + 1, { count: 1, bytes: piece.length }]),
    );
    expect(proxy.bytesReceived).toBeGreaterThanOrEqual(whole.length);
  });

  it('refuses a part that it does not hold', async () => {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(OBJECT));
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: '"none"' }] };
    const complete = s3.send(new CompleteMultipartUploadCommand({ ...OBJECT, UploadId, MultipartUpload }));
    await expect(complete).rejects.toMatchObject({ name: 'InvalidPart' });
    await expect(s3.send(new ListPartsCommand({ ...OBJECT, UploadId: 'gone' }))).rejects.toMatchObject({
      name: 'NoSuchUpload',
    });
  });
});

describe('faults', () => {
  const stored = (): boolean => sink.objects.has(`${OBJECT.Bucket}/${OBJECT.Key}`);

  it('status: answers so often, then lets pass; other operations are not touched', async () => {
    const fault = proxy.fault({ op: 'PutObject', times: 2, after: 1 }, faults.status(503, 'SlowDown'));
    await put();
    for (let n = 0; n < 2; n++) {
      await expect(put()).rejects.toMatchObject({ name: 'SlowDown', $metadata: { httpStatusCode: 503 } });
    }
    await s3.send(new HeadObjectCommand(OBJECT));
    await put();
    expect(fault.hits).toBe(2);
    expect(proxy.log.map(({ op, status }) => [op, status])).toEqual([
      ['PutObject', 200],
      ['PutObject', 503],
      ['PutObject', 503],
      ['HeadObject', 200],
      ['PutObject', 200],
    ]);
  });

  it('probability strikes its share, the same way every time', async () => {
    const fault = proxy.fault({ op: 'HeadObject', probability: 0.3 }, faults.status(503, 'SlowDown'));
    for (let n = 0; n < 100; n++) await s3.send(new HeadObjectCommand(OBJECT)).catch(() => undefined);
    expect(fault.hits).toBeGreaterThan(15);
    expect(fault.hits).toBeLessThan(45);
  });

  it('reset in the middle of the body: the server stores nothing', async () => {
    proxy.fault({ op: 'PutObject', key: /bin$/ }, faults.reset(100_000));
    await expect(put()).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up/);
    expect(proxy.log[0]?.bytes).toBeGreaterThanOrEqual(100_000);
    expect(stored()).toBe(false);
  });

  it('reset at once', async () => {
    proxy.fault({}, faults.reset());
    await expect(put()).rejects.toThrow();
    expect(proxy.bytesReceived).toBe(0);
  });

  it('stall: no answer until the client gives up', async () => {
    proxy.fault({ op: 'PutObject', times: 1 }, faults.stall());
    proxy.fault({ op: 'PutObject', times: 1 }, faults.stall({ afterBytes: 50_000 }));
    for (let n = 0; n < 2; n++) {
      const call = s3.send(new PutObjectCommand({ ...OBJECT, Body: BODY }), {
        abortSignal: AbortSignal.timeout(300),
      });
      await expect(call).rejects.toThrow(/abort/i);
    }
    expect(stored()).toBe(false);
    await put();
    expect(stored()).toBe(true);
  });

  it.each([
    ['dropReply', faults.dropReply()],
    ['cutReply', faults.cutReply()],
  ])('%s: the server has it, the client does not know', async (_, action) => {
    proxy.fault({ op: 'PutObject', times: 1 }, action);
    await expect(put()).rejects.toThrow();
    expect(stored()).toBe(true);
  });

  it('error under 200, with and without the server having done the work', async () => {
    proxy.fault(
      { op: 'PutObject', times: 1 },
      faults.errorUnder200('InternalError', { trailingNewline: true }),
    );
    proxy.fault({ op: 'PutObject', times: 1 }, faults.errorUnder200('InternalError', { forward: true }));
    const answer = await fetch(`${proxy.endpoint}/b/k`, { method: 'PUT', body: 'x' });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toMatch(/<Code>InternalError<\/Code>.*<\/Error>\n$/s);
    expect(sink.objects.size).toBe(0);
    const second = await fetch(`${proxy.endpoint}/b/k`, { method: 'PUT', body: 'x' });
    expect(await second.text()).toMatch(/<\/Error>$/);
    expect(sink.objects.size).toBe(1);
  });

  it('delay and bandwidth take the time they should', async () => {
    const slow = proxy.fault({ op: 'PutObject' }, faults.bandwidth(1_000_000));
    proxy.fault({ op: 'HeadObject' }, faults.delay(200));
    const began = performance.now();
    await put();
    expect(performance.now() - began).toBeGreaterThan(250);
    slow.remove();
    const again = performance.now();
    await s3.send(new HeadObjectCommand(OBJECT));
    expect(performance.now() - again).toBeGreaterThan(190);
  });

  it('hooks run before the server sees the request, and after it answered', async () => {
    const seen: [string, boolean][] = [];
    proxy.fault(
      { op: 'PutObject' },
      faults.hook({
        before: () => void seen.push(['before', stored()]),
        after: () => void seen.push(['after', stored()]),
      }),
    );
    await put();
    expect(seen).toEqual([
      ['before', false],
      ['after', true],
    ]);
  });

  it('what a hook throws comes out of close', async () => {
    const other = await startFaultProxy(sink.endpoint);
    other.fault({}, faults.hook({ before: () => expect(1).toBe(2) }));
    await fetch(`${other.endpoint}/b/k`, { method: 'HEAD' });
    await expect(other.close()).rejects.toThrow(AggregateError);
  });

  it('carries bytes unchanged and keeps the Host header', async () => {
    const { createServer } = await import('node:http');
    const seen: { host?: string | undefined; sha?: string } = {};
    const server = createServer((request, response) => {
      const hash = createHash('sha256');
      request.on('data', (chunk: Buffer) => hash.update(chunk));
      request.on('end', () => {
        Object.assign(seen, { host: request.headers.host, sha: hash.digest('hex') });
        response.writeHead(200, { etag: '"e"' }).end(BODY);
      });
    }).listen(0, '127.0.0.1');
    await eventually(() => server.listening);
    const { port } = server.address() as { port: number };
    const through = await startFaultProxy(`http://127.0.0.1:${port}`);
    const answer = await fetch(`${through.endpoint}/b/k`, { method: 'PUT', body: BODY });
    expect(Buffer.from(await answer.arrayBuffer()).equals(BODY)).toBe(true);
    expect(seen).toEqual({
      host: new URL(through.endpoint).host,
      sha: createHash('sha256').update(BODY).digest('hex'),
    });
    await through.close();
    server.closeAllConnections();
    server.close();
  });
});
