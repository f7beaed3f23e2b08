/** Clients of tus as people have them, against the API on real parts. */
import { createReadStream } from 'node:fs';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import * as tusClient from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { addApiKey } from '../../src/infra/catalog/api-keys.js';
import { MiB } from '../../src/core/limits.js';
import { apiOfTest } from '../helpers/api.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import type { TestBucket } from '../helpers/buckets.js';
import { keysIn, objectSha256 } from '../helpers/rig.js';
import { startTcpProxy } from '../helpers/tcp-proxy.js';
import { metadataOf, OFFSET_STREAM, someBytes, tusCaller, openPatch } from '../helpers/tus.js';

const PART = 8 * MiB;

let bench: ApiBench;
let rig: ApiBench['rig'];
let api: ApiBench['api'];

beforeAll(async () => {
  bench = await startApiBench();
  ({ rig, api } = bench);
});
afterAll(() => bench.close());

type Options = ConstructorParameters<typeof tusClient.Upload>[1];

/** Ends when the client says that it is done. */
function upload(
  file: ConstructorParameters<typeof tusClient.Upload>[0],
  options: Options,
): Promise<tusClient.Upload> {
  return new Promise((resolve, reject) => {
    const sent = new tusClient.Upload(file, {
      endpoint: `${api.url}/files/`,
      chunkSize: Infinity,
      retryDelays: [0, 100, 300, 1000, 3000],
      onSuccess: () => resolve(sent),
      onError: reject,
      ...options,
    });
    sent.start();
  });
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** How often each part went to S3. */
function sentParts(bucket: TestBucket, key?: string): number[] {
  const parts = rig.proxy.parts({ bucket: bucket.name, ...(key === undefined ? {} : { key }) });
  return [...parts.entries()].sort(([a], [b]) => a - b).map(([, { count }]) => count);
}

describe('tus-js-client', () => {
  test('200 MiB whose connections are reset on the way arrive whole, and no finished part goes twice', async () => {
    const bucket = await rig.bucket();
    const file = await rig.file(200 * MiB);
    const url = new URL(api.url);
    const proxy = await startTcpProxy(url.hostname, Number(url.port));
    onTestFinished(() => proxy.close());
    const cuts = [60 * MiB, 130 * MiB];
    const resumedAt: number[] = [];
    await upload(createReadStream(file.path), {
      endpoint: `http://${proxy.address}/files/`,
      metadata: { bucket: bucket.name, key: 'big', filename: file.name },
      onProgress: (sent) => {
        if (cuts[0] === undefined || sent < cuts[0]) return;
        cuts.shift();
        void proxy.down().then(() => proxy.up());
      },
      onAfterResponse: (request, response) => {
        if (request.getMethod() === 'HEAD') resumedAt.push(Number(response.getHeader('Upload-Offset')));
      },
    });
    expect(cuts).toEqual([]);
    expect(resumedAt.length).toBeGreaterThanOrEqual(2);
    expect(resumedAt[0]).toBeGreaterThan(0);
    expect(await objectSha256(bucket, 'big')).toBe(file.sha256);
    expect(sentParts(bucket)).toEqual(Array<number>(25).fill(1));
  });

  test('a stream whose length shows at its end', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(21 * MiB + 5);
    const pieces = Array.from({ length: 22 }, (_, at) => bytes.subarray(at * MiB, (at + 1) * MiB));
    await upload(Readable.from(pieces, { objectMode: false }), {
      uploadLengthDeferred: true,
      chunkSize: 6 * MiB,
      metadata: { bucket: bucket.name, key: 'stream' },
    });
    expect(await objectSha256(bucket, 'stream')).toBe(sha256(bytes));
  });

  test('three streams at once become one object', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(3 * PART + 4 * MiB + 1);
    const metadata = { bucket: bucket.name, filename: 'joined.bin', filetype: 'video/mp4' };
    const sent = await upload(bytes, {
      parallelUploads: 3,
      metadata,
      metadataForPartialUploads: { bucket: bucket.name },
      chunkSize: 5 * MiB,
    });
    const id = sent.url?.split('/').at(-1) ?? '';
    const key = `tus/${id}/joined.bin`;
    expect(await objectSha256(bucket, key)).toBe(sha256(bytes));
    expect(sentParts(bucket, key)).toEqual([1, 1, 1, 1]);
    expect((await keysIn(bucket)).filter((each) => each.startsWith('tus/partial/'))).toHaveLength(3);
    const { headers } = await tusCaller(api.url)('HEAD', `/files/${id}`);
    expect(headers).toMatchObject({
      'upload-length': String(bytes.byteLength),
      'upload-offset': String(bytes.byteLength),
    });
    expect(headers['upload-concat']).toMatch(/^final;(\/files\/\S+ ){2}\/files\/\S+$/);
  });

  test('it gives an upload up', async () => {
    const bucket = await rig.bucket();
    const sent = new tusClient.Upload(someBytes(3 * MiB), {
      endpoint: `${api.url}/files/`,
      chunkSize: MiB,
      metadata: { bucket: bucket.name, key: 'given-up' },
      onChunkComplete: () => void sent.abort(true).then(done, failed),
    });
    let done = (): void => undefined;
    let failed = (error: unknown): void => void error;
    const ended = new Promise<void>((resolve, reject) => ([done, failed] = [resolve, reject]));
    sent.start();
    await ended;
    expect(await tusCaller(api.url)('HEAD', new URL(sent.url ?? '').pathname)).toMatchObject({ status: 410 });
  });
});

describe('concatenation', () => {
  const partial = { 'upload-concat': 'partial' };

  test('small and empty partial uploads count too, and the same question has the same answer', async () => {
    const bucket = await rig.bucket();
    const tus = tusCaller(api.url);
    const pieces = [someBytes(1), Buffer.alloc(0), someBytes(PART - 1), someBytes(70_000)];
    const urls: string[] = [];
    for (const piece of pieces) {
      const headers = {
        ...partial,
        ...OFFSET_STREAM,
        'upload-metadata': metadataOf({ bucket: bucket.name }),
        'upload-length': String(piece.byteLength),
      };
      const made = await tus('POST', '/files', { headers, body: piece });
      expect(made).toMatchObject({ status: 201 });
      urls.push(made.headers.location ?? '');
    }
    expect((await tus('HEAD', urls[0] ?? '')).headers['upload-concat']).toBe('partial');
    const headers = {
      'upload-concat': `final;${urls[0]} ${new URL(urls[1] ?? '', api.url).href} ${urls[2]} ${urls[3]}`,
      'upload-metadata': metadataOf({ bucket: bucket.name, key: 'joined' }),
    };
    const [one, two] = await Promise.all([
      tus('POST', '/files', { headers }),
      tus('POST', '/files', { headers }),
    ]);
    expect(one).toMatchObject({ status: 201 });
    expect(two).toMatchObject({ status: 201, headers: { location: one.headers.location } });
    expect(await objectSha256(bucket, 'joined')).toBe(sha256(Buffer.concat(pieces)));
    const more = { ...OFFSET_STREAM, 'upload-offset': '0' };
    expect(
      await tus('PATCH', one.headers.location ?? '', { headers: more, body: someBytes(1) }),
    ).toMatchObject({ status: 403 });
  });

  test('what is not complete, is no partial upload or is not there is refused', async () => {
    const bucket = await rig.bucket();
    const tus = tusCaller(api.url);
    const make = async (headers: Record<string, string>) => {
      const metadata = { 'upload-metadata': metadataOf({ bucket: bucket.name }), 'upload-length': '5' };
      const made = await tus('POST', '/files', { headers: { ...metadata, ...headers } });
      return made.headers.location ?? '';
    };
    const [open, whole] = [await make(partial), await make({})];
    const join = (urls: string) => tus('POST', '/files', { headers: { 'upload-concat': urls } });
    expect(await join(`final;${open}`)).toMatchObject({ status: 400 });
    expect(await join(`final;${whole}`)).toMatchObject({ status: 400 });
    expect(await join('final;/files/nobody')).toMatchObject({ status: 404 });
    for (const odd of ['final;', 'final', 'other;x']) expect(await join(odd)).toMatchObject({ status: 400 });
    for (const path of [open, whole]) expect(await tus('DELETE', path)).toMatchObject({ status: 204 });
  });
});

describe('keys', () => {
  test('only where its grants reach, and nobody else’s upload', async () => {
    const bucket = await rig.bucket();
    const key = async (prefix: string) => {
      const { token } = await addApiKey(bench.db, {
        name: prefix,
        grants: [{ bucket: bucket.name, prefix }],
      });
      return { authorization: `Bearer ${token}` };
    };
    const [mine, theirs] = [await key('mine/'), await key('theirs/')];
    const guarded = await apiOfTest(rig.surroundings, { env: { LONGSHORE_API_KEYS_REQUIRED: 'true' } });
    const tus = tusCaller(guarded.url);
    const ask = (name: string, who: Record<string, string>) => ({
      headers: {
        ...who,
        'upload-length': '3',
        'upload-metadata': metadataOf({ bucket: bucket.name, key: name }),
      },
    });
    expect(await tus('POST', '/files', ask('mine/a', {}))).toMatchObject({ status: 401 });
    expect(await tus('POST', '/files', ask('theirs/a', mine))).toMatchObject({ status: 403 });
    const made = await tus('POST', '/files', ask('mine/a', mine));
    const path = made.headers.location ?? '';
    const bytes = { ...OFFSET_STREAM, 'upload-offset': '0' };
    const sending = openPatch(guarded.url, path, 0, { ...mine, 'content-length': '3' });
    await sending.write(Buffer.from('a'));
    for (const method of ['HEAD', 'PATCH', 'DELETE', 'DELETE']) {
      const call = { headers: { ...theirs, ...(method === 'PATCH' ? bytes : {}) } };
      expect(await tus(method, path, call)).toMatchObject({ status: 404 });
    }
    // Whoever may not is told so, and does not cut off who may.
    await sending.write(Buffer.from('bc'));
    expect(await sending.end()).toBe(204);
    expect(await keysIn(bucket)).toEqual(['mine/a']);
  });
});
