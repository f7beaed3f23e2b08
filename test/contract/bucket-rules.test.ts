/** What the rules of a bucket are written back with, which no server here keeps. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { createBucketRules } from '../../src/infra/s3/sdk-bucket.js';

const HEADER = 'x-amz-transition-default-minimum-object-size';

it.each(['varies_by_storage_class', undefined])(
  'the size from which objects change their class stays as it is: %s',
  async (least) => {
    const put: { headers: IncomingHttpHeaders; body: string }[] = [];
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (request.method === 'PUT') {
          put.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
          response.end();
          return;
        }
        if (least !== undefined) response.setHeader(HEADER, least);
        response.end(
          '<LifecycleConfiguration><Rule><ID>theirs</ID><Status>Enabled</Status><Filter><Prefix>a/</Prefix></Filter><Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>',
        );
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const limits = { maxConnections: 1, connectTimeoutMs: 1000, socketTimeoutMs: 1000 };
    const keys = { accessKeyId: 'a', secretAccessKey: 'b' };
    const rules = createBucketRules({ endpoint, region: 'us-east-1', ...limits, ...keys });
    try {
      await rules.setAbortDays('bucket', 7, AbortSignal.timeout(10_000));
      expect(put).toHaveLength(1);
      expect(put[0]?.headers[HEADER]).toBe(least);
      expect(put[0]?.body).toContain('theirs');
    } finally {
      rules.close();
      server.close();
      server.closeAllConnections();
    }
  },
);
