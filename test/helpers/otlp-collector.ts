/** Takes traces by OTLP over HTTP, as a collector does, and keeps what tells how spans belong together. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CollectedSpan {
  name: string;
  /** Hexadecimal. */
  traceId: string;
  spanId: string;
  /** '' for the first of a trace. */
  parentId: string;
}

export interface OtlpCollector {
  endpoint: string;
  spans: CollectedSpan[];
  /** All bodies, as text that shows whatever strings are in them. */
  said(): string;
  close(): Promise<void>;
}

export async function startOtlpCollector(): Promise<OtlpCollector> {
  const spans: CollectedSpan[] = [];
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      bodies.push(body);
      if (request.url === '/v1/traces') spans.push(...spansOf(body));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    said: () => Buffer.concat(bodies).toString('latin1'),
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** ExportTraceServiceRequest.resource_spans[].scope_spans[].spans[], by the numbers of their fields. */
function spansOf(request: Buffer): CollectedSpan[] {
  const inner = (messages: Buffer[], field: number): Buffer[] =>
    messages.flatMap((message) =>
      fieldsOf(message)
        .filter(({ number }) => number === field)
        .map(({ bytes }) => bytes),
    );
  return inner(inner(inner([request], 1), 2), 2).map((span) => {
    const of = (field: number): Buffer =>
      fieldsOf(span).find(({ number }) => number === field)?.bytes ?? Buffer.alloc(0);
    return {
      name: of(5).toString(),
      traceId: of(1).toString('hex'),
      spanId: of(2).toString('hex'),
      parentId: of(4).toString('hex'),
    };
  });
}

/** The fields of a message that have a length. */
function fieldsOf(message: Buffer): { number: number; bytes: Buffer }[] {
  const fields: { number: number; bytes: Buffer }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const length = varint();
      fields.push({ number: tag >>> 3, bytes: message.subarray(at, at + length) });
      at += length;
    }
  }
  return fields;
}
