/** A rotation whose worker dies in the middle of the copy: another goes on, and the object is under the new key, whole. */
import { createHash, randomBytes } from 'node:crypto';
import {
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  NoSuchUpload,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { createPool, type Pool } from '../../src/infra/catalog/pool.js';
import { getNode } from '../../src/infra/catalog/nodes.js';
import { createLogger } from '../../src/infra/telemetry/log.js';
import { apiOfTest, type TestApi } from '../helpers/api.js';
import { startMinioTls, type TlsServer } from '../helpers/minio-tls.js';
import { startWorker } from '../helpers/processes.js';
import { startRig, type Rig } from '../helpers/rig.js';
import { isSkipped } from '../helpers/stack.js';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.js';
import { eventually } from '../helpers/wait.js';

/** Parts of a copy have 128 MiB: this is a long one and a short one. */
const SIZE = 132 * MiB;
const CHUNK = 44 * MiB;

describe.skipIf(isSkipped('minio'))('a rotation', () => {
  let tls: TlsServer;
  let proxy: TcpProxy;
  let rig: Rig;
  let db: Pool;
  let bucket: string;

  beforeAll(async () => {
    tls = await startMinioTls();
    const { hostname, port } = new URL(tls.s3.endpoint);
    proxy = await startTcpProxy(hostname, Number(port));
    const { accessKeyId, secretAccessKey } = tls.s3;
    rig = await startRig({
      ...{ worker: false, server: 'minio' },
      env: {
        ...tls.env,
        AWS_ENDPOINT_URL: `https://${proxy.address}`,
        ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
        LONGSHORE_SEALING_KEY: randomBytes(32).toString('base64'),
      },
    });
    db = createPool(rig.config.postgresUrl ?? '', { max: 2 });
    ({ name: bucket } = await tls.bucket());
  }, 120_000);
  afterAll(async () => {
    await db.end();
    await rig.close();
    await proxy.down();
    const left = await tls.leftovers();
    await tls.close();
    expect(left).toEqual([]);
  });

  it('survives a worker that is killed in the middle of the copy', async () => {
    const api = await apiOfTest(rig.surroundings, {
      env: { LONGSHORE_SESSION_BUCKET: bucket },
      log: createLogger({ level: 'error', name: 'api' }),
    });
    const [from, to] = [randomBytes(32), randomBytes(32)];
    const first = await startWorker(rig.surroundings);
    const { node, key, sha } = await sent(api, from);

    const body = { old_key: spelled(from), encryption: { type: 'SSE_C', ...spelled(to) } };
    const started = await api.send('POST', `/api/v1/nodes/${node}/rotate`, body);
    expect(started.status, started.text).toBe(200);
    const id = String(started.body['upload_id']);
    // The short part is there, the long one on its way: from here on nothing moves, and the worker dies.
    await eventually(copied, { timeout: 60_000, interval: 5, what: 'a part of the copy' });
    proxy.stall();
    await first.kill();
    await proxy.down();
    proxy.resume();
    await proxy.up();
    expect(await getNode(db, node)).toMatchObject({ customerKeyMd5: md5(from) });
    expect(await shaOf(key, from)).toBe(sha);

    const second = await startWorker(rig.surroundings);
    const result = await rig.client.result(id);
    // One generation with checksums, which MinIO refuses of copies, and one without: none was begun for the dead worker.
    expect(result).toMatchObject({ size: SIZE, bytesSent: 0, generations: 2 });
    expect(await shaOf(key, to)).toBe(sha);
    await expect(shaOf(key, from)).rejects.toThrow();
    expect(await getNode(db, node)).toMatchObject({
      customerKeyMd5: md5(to),
      uploadId: id,
      status: 'ACTIVE',
    });
    expect((await db.query('SELECT 1 FROM customer_keys')).rowCount).toBe(0);
    await second.end();
  }, 240_000);

  async function sent(api: TestApi, key: Buffer): Promise<{ node: string; key: string; sha: string }> {
    const bytes = randomBytes(SIZE);
    const encryption = { type: 'SSE_C', ...spelled(key) };
    const ask = { name: 'large', expected_size: SIZE, chunk_size: CHUNK, encryption };
    const begun = await api.send('POST', '/api/v1/sessions/', ask);
    expect(begun.status, begun.text).toBe(200);
    const { upload_id: id, node_id: node, key: at } = begun.body as Record<string, string>;
    for (let chunk = 0; chunk * CHUNK < SIZE; chunk++) {
      const piece = bytes.subarray(chunk * CHUNK, (chunk + 1) * CHUNK);
      const headers = { 'content-type': 'application/octet-stream' };
      const url = `${api.url}/api/v1/sessions/${id}/chunks/${chunk}`;
      const answer = await fetch(url, { method: 'PUT', headers, body: piece });
      expect(answer.status, await answer.text()).toBe(200);
    }
    const completed = await api.send('POST', `/api/v1/sessions/${id}/complete`, {});
    expect(completed.status, completed.text).toBe(200);
    return { node: String(node), key: String(at), sha: createHash('sha256').update(bytes).digest('hex') };
  }

  /** Whether a part that is not empty, as the first one is that asks for encryption, is in the bucket. */
  async function copied(): Promise<boolean> {
    const { Uploads = [] } = await tls.client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    for (const { Key, UploadId } of Uploads) {
      const listing = new ListPartsCommand({ Bucket: bucket, Key, UploadId });
      // It may be aborted meanwhile: the generation before is.
      const parts = await tls.client.send(listing).catch((error: unknown) => {
        if (error instanceof NoSuchUpload) return undefined;
        throw error;
      });
      if (parts?.Parts?.some(({ Size = 0 }) => Size > 0) === true) return true;
    }
    return false;
  }

  async function shaOf(key: string, customer: Buffer): Promise<string> {
    const sse = { SSECustomerAlgorithm: 'AES256', SSECustomerKey: customer.toString('base64') };
    const { Body } = await tls.client.send(new GetObjectCommand({ Bucket: bucket, Key: key, ...sse }));
    const hash = createHash('sha256');
    for await (const chunk of Body as AsyncIterable<Buffer>) hash.update(chunk);
    return hash.digest('hex');
  }
});

function md5(key: Buffer): string {
  return createHash('md5').update(key).digest('base64');
}

function spelled(key: Buffer) {
  return { customer_key_b64: key.toString('base64'), customer_key_md5: md5(key) };
}
