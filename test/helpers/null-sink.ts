/**
 * An S3 server that keeps no bytes: for each part and object it remembers size and CRC32. It answers what an upload
 * asks, so that 10,000 parts of a sparse file can be sent without a disk. Signatures are not looked at; every bucket
 * exists. CRCs are those that the client sent, so it proves how they are combined, not that they are true.
 */
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { combineCrc32 } from '../../src/core/crc32.js';
import { errorXml, escapeXml, recognise } from './s3-operations.js';
import type { S3Request } from './s3-operations.js';

interface SunkPart {
  size: number;
  /** base64, as the client sent it. */
  crc32: string | undefined;
  etag: string;
}

interface SunkUpload {
  bucket: string;
  key: string;
  metadata: Record<string, string>;
  initiated: string;
  parts: Map<number, SunkPart>;
}

export interface SunkObject {
  size: number;
  etag: string;
  /** Full-object CRC32, base64. */
  crc32: string | undefined;
  /** Request headers that a HEAD gives back: Content-Type, Cache-Control, x-amz-meta-*. */
  metadata: Record<string, string>;
  lastModified: string;
  parts: number;
}

export interface NullSink {
  endpoint: string;
  /** By `bucket/key`. */
  objects: Map<string, SunkObject>;
  uploads: Map<string, SunkUpload>;
  close(): Promise<void>;
}

const PAGE = 1000;

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
  ) {
    super(code);
  }
}

export async function startNullSink(): Promise<NullSink> {
  const sink = new Sink();
  const server = createServer(
    { requestTimeout: 0 },
    (request, response) => void sink.serve(request, response),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects: sink.objects,
    uploads: sink.uploads,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

class Sink {
  readonly objects = new Map<string, SunkObject>();
  readonly uploads = new Map<string, SunkUpload>();

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(
        recognise(request.method ?? '', request.url ?? '/', request.headers),
        request,
      );
    } catch (error) {
      // The client broke off: nobody is left to be told.
      if (request.destroyed && !request.complete) return;
      const refusal = error instanceof Refusal ? error : new Refusal(500, 'InternalError');
      answer = { status: refusal.status, body: errorXml(refusal.code, String(error)) };
    }
    const body = request.method === 'HEAD' ? undefined : answer.body;
    response.writeHead(answer.status, {
      'x-amz-request-id': randomUUID(),
      ...(answer.body === undefined ? {} : { 'content-type': 'application/xml' }),
      ...answer.headers,
      ...(request.method === 'HEAD' ? {} : { 'content-length': Buffer.byteLength(body ?? '') }),
    });
    response.end(body);
  }

  async #answer(s3: S3Request, request: IncomingMessage): Promise<Answer> {
    switch (s3.op) {
      case 'UploadPart':
        return await this.#uploadPart(s3, request);
      case 'PutObject':
        return await this.#putObject(s3, request);
      case 'CompleteMultipartUpload':
        return await this.#complete(s3, request);
      case 'CreateMultipartUpload':
        await discard(request);
        return this.#create(s3, request);
      default:
        await discard(request);
        return this.#simple(s3);
    }
  }

  #simple(s3: S3Request): Answer {
    switch (s3.op) {
      case 'HeadBucket':
      case 'CreateBucket':
        return { status: 200 };
      case 'HeadObject':
        return this.#head(s3);
      case 'ListParts':
        return this.#listParts(s3);
      case 'ListMultipartUploads':
        return this.#listUploads(s3);
      case 'AbortMultipartUpload':
        this.#upload(s3);
        this.uploads.delete(s3.uploadId ?? '');
        return { status: 204 };
      case 'DeleteObject':
        this.objects.delete(nameOf(s3));
        return { status: 204 };
      default:
        throw new Refusal(501, 'NotImplemented');
    }
  }

  #upload(s3: S3Request): SunkUpload {
    const upload = this.uploads.get(s3.uploadId ?? '');
    if (upload === undefined) throw new Refusal(404, 'NoSuchUpload');
    return upload;
  }

  #create(s3: S3Request, request: IncomingMessage): Answer {
    const id = randomUUID();
    this.uploads.set(id, {
      bucket: s3.bucket ?? '',
      key: s3.key ?? '',
      metadata: attributesOf(request),
      initiated: new Date().toISOString(),
      parts: new Map(),
    });
    const body = element('InitiateMultipartUploadResult', [
      element('Bucket', escapeXml(s3.bucket ?? '')),
      element('Key', escapeXml(s3.key ?? '')),
      element('UploadId', id),
    ]);
    return { status: 200, headers: checksumKind(request), body };
  }

  async #uploadPart(s3: S3Request, request: IncomingMessage): Promise<Answer> {
    const part = await receive(request);
    this.#upload(s3).parts.set(s3.part ?? 0, part);
    return { status: 200, headers: { etag: part.etag, ...crcHeader(part.crc32) } };
  }

  async #putObject(s3: S3Request, request: IncomingMessage): Promise<Answer> {
    const { size, crc32, etag } = await receive(request);
    const lastModified = new Date().toUTCString();
    this.objects.set(nameOf(s3), {
      size,
      crc32,
      etag,
      metadata: attributesOf(request),
      lastModified,
      parts: 0,
    });
    return { status: 200, headers: { etag, ...crcHeader(crc32) } };
  }

  async #complete(s3: S3Request, request: IncomingMessage): Promise<Answer> {
    const listed = parseCompletion((await collect(request)).toString('utf8'));
    const upload = this.#upload(s3);
    const parts = listed.map(({ number, etag }, at) => {
      if (at > 0 && number <= (listed[at - 1]?.number ?? 0)) throw new Refusal(400, 'InvalidPartOrder');
      const part = upload.parts.get(number);
      if (part === undefined || part.etag !== etag) throw new Refusal(400, 'InvalidPart');
      return part;
    });
    if (parts.length === 0) throw new Refusal(400, 'MalformedXML');
    const crc32 = combine(parts);
    const demanded = request.headers['x-amz-checksum-crc32'];
    if (demanded !== undefined && demanded !== crc32) throw new Refusal(400, 'BadDigest');
    const size = parts.reduce((sum, part) => sum + part.size, 0);
    const hash = createHash('md5').update(parts.map((part) => part.etag).join());
    const etag = `"${hash.digest('hex')}-${parts.length}"`;
    const lastModified = new Date().toUTCString();
    this.objects.set(nameOf(s3), {
      size,
      crc32,
      etag,
      metadata: upload.metadata,
      lastModified,
      parts: parts.length,
    });
    this.uploads.delete(s3.uploadId ?? '');
    const body = element('CompleteMultipartUploadResult', [
      element('Bucket', escapeXml(s3.bucket ?? '')),
      element('Key', escapeXml(s3.key ?? '')),
      element('ETag', escapeXml(etag)),
      ...(crc32 === undefined
        ? []
        : [element('ChecksumCRC32', crc32), element('ChecksumType', 'FULL_OBJECT')]),
    ]);
    return { status: 200, body };
  }

  #head(s3: S3Request): Answer {
    const object = this.objects.get(nameOf(s3));
    if (object === undefined) throw new Refusal(404, 'NoSuchKey');
    return {
      status: 200,
      headers: {
        ...object.metadata,
        'content-length': String(object.size),
        etag: object.etag,
        'last-modified': object.lastModified,
        ...crcHeader(object.crc32),
        ...(object.crc32 === undefined ? {} : { 'x-amz-checksum-type': 'FULL_OBJECT' }),
      },
    };
  }

  #listParts(s3: S3Request): Answer {
    const { parts } = this.#upload(s3);
    const marker = Number(s3.query.get('part-number-marker') ?? 0);
    const max = Math.min(PAGE, Number(s3.query.get('max-parts') ?? PAGE));
    const rest = [...parts].filter(([number]) => number > marker).sort(([a], [b]) => a - b);
    const page = rest.slice(0, max);
    const truncated = rest.length > page.length;
    const body = element('ListPartsResult', [
      element('UploadId', s3.uploadId ?? ''),
      element('PartNumberMarker', String(marker)),
      ...(truncated ? [element('NextPartNumberMarker', String(page.at(-1)?.[0] ?? marker))] : []),
      element('MaxParts', String(max)),
      element('IsTruncated', String(truncated)),
      ...page.map(([number, part]) => partElement(number, part)),
    ]);
    return { status: 200, body };
  }

  #listUploads(s3: S3Request): Answer {
    const prefix = s3.query.get('prefix') ?? '';
    const ours = [...this.uploads].filter(
      ([, { bucket, key }]) => bucket === s3.bucket && key.startsWith(prefix),
    );
    const encode = s3.query.get('encoding-type') === 'url' ? encodeURIComponent : escapeXml;
    const body = element('ListMultipartUploadsResult', [
      element('IsTruncated', 'false'),
      ...ours.map(([id, { key, initiated }]) =>
        element('Upload', [
          element('Key', encode(key)),
          element('UploadId', id),
          element('Initiated', initiated),
        ]),
      ),
    ]);
    return { status: 200, body };
  }
}

function nameOf({ bucket, key }: S3Request): string {
  return `${bucket}/${key}`;
}

function element(name: string, content: string | string[]): string {
  return `<${name}>${typeof content === 'string' ? content : content.join('')}</${name}>`;
}

function partElement(number: number, { etag, size, crc32 }: SunkPart): string {
  return element('Part', [
    element('PartNumber', String(number)),
    element('ETag', escapeXml(etag)),
    element('Size', String(size)),
    ...(crc32 === undefined ? [] : [element('ChecksumCRC32', crc32)]),
  ]);
}

function crcHeader(crc32: string | undefined): Record<string, string> {
  return crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 };
}

function checksumKind(request: IncomingMessage): Record<string, string> {
  const algorithm = request.headers['x-amz-checksum-algorithm'];
  if (typeof algorithm !== 'string') return {};
  return { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': 'FULL_OBJECT' };
}

function attributesOf({ headers }: IncomingMessage): Record<string, string> {
  const kept = Object.entries(headers).filter(
    ([name]) => name.startsWith('x-amz-meta-') || name === 'content-type' || name === 'cache-control',
  );
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}

async function receive(request: IncomingMessage): Promise<SunkPart> {
  const trailed = request.headers['x-amz-trailer'] !== undefined;
  const { bytes: received, end } = await endOf(request, trailed ? TRAILER_BYTES : 0);
  // A body that is signed chunk by chunk has more bytes than it carries.
  const size = Number(request.headers['x-amz-decoded-content-length'] ?? received);
  const header = trailed
    ? /\r\nx-amz-checksum-crc32:([A-Za-z0-9+/]{6}==)\r\n\r\n$/.exec(end)?.[1]
    : request.headers['x-amz-checksum-crc32'];
  const crc32 = typeof header === 'string' ? header : undefined;
  if (trailed && crc32 === undefined) throw new Refusal(400, 'MalformedTrailerError');
  return { size, crc32, etag: `"${randomUUID().replaceAll('-', '')}"` };
}

const TRAILER_BYTES = 64;

async function discard(request: IncomingMessage): Promise<number> {
  return (await endOf(request, 0)).bytes;
}

/** How many bytes came, and the last few of them. */
async function endOf(request: IncomingMessage, keep: number): Promise<{ bytes: number; end: string }> {
  let bytes = 0;
  let end = '';
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (keep > 0) end = (end + chunk.subarray(-keep).toString('latin1')).slice(-keep);
  }
  return { bytes, end };
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Every S3 client writes this document flat and without attributes inside `Part`. */
function parseCompletion(xml: string): { number: number; etag: string }[] {
  return [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = '']) => ({
    number: Number(/<PartNumber>(\d+)<\/PartNumber>/.exec(part)?.[1]),
    etag: (/<ETag>(.*?)<\/ETag>/.exec(part)?.[1] ?? '').replaceAll('&quot;', '"').replaceAll('&#34;', '"'),
  }));
}

/** undefined when a part came without a checksum. */
function combine(parts: readonly SunkPart[]): string | undefined {
  let crc = 0;
  for (const part of parts) {
    if (part.crc32 === undefined) return undefined;
    crc = combineCrc32(crc, Buffer.from(part.crc32, 'base64').readUInt32BE(), part.size);
  }
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}
