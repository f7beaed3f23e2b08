import { createHash } from 'node:crypto';
import { Agent } from 'node:http';
import {
  AbortMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../../src/core/limits.js';
import { query } from '../../src/infra/catalog/pool.js';
import { startTestApi } from '../helpers/api.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import type { TestBucket } from '../helpers/buckets.js';
import { keysIn, objectSha256 } from '../helpers/rig.js';
import {
  metadataOf,
  OFFSET_STREAM,
  openPatch,
  someBytes,
  tusCaller,
  type TusCaller,
} from '../helpers/tus.js';
import { eventually } from '../helpers/wait.js';

const PART = 8 * MiB;

let bench: ApiBench;
let rig: ApiBench['rig'];
let api: ApiBench['api'];
let db: ApiBench['db'];
let tus: TusCaller;

beforeAll(async () => {
  bench = await startApiBench();
  ({ rig, api, db } = bench);
  tus = tusCaller(api.url);
});
afterAll(() => bench.close());

/** Of an upload to `key` in the bucket. */
function into(bucket: TestBucket, key: string, more: Record<string, string> = {}): Record<string, string> {
  return { 'upload-metadata': metadataOf({ bucket: bucket.name, key, ...more }) };
}

async function create(bucket: TestBucket, key: string, headers: Record<string, string>): Promise<string> {
  const answer = await tus('POST', '/files', { headers: { ...into(bucket, key), ...headers } });
  expect(answer.status, answer.text).toBe(201);
  return answer.headers.location ?? '';
}

async function patch(path: string, offset: number, body: Buffer, headers: Record<string, string> = {}) {
  return await tus('PATCH', path, {
    headers: { ...OFFSET_STREAM, 'upload-offset': String(offset), ...headers },
    body,
  });
}

async function offsetOf(path: string): Promise<number> {
  const { status, headers } = await tus('HEAD', path);
  expect(status).toBe(200);
  return Number(headers['upload-offset']);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function tailOf(path: string): Promise<number> {
  const { rows } = await query<{ bytes: string }>(db, 'test', {
    text: 'SELECT coalesce(sum(octet_length(bytes)), 0)::bigint AS bytes FROM session_tails WHERE session = $1',
    values: [path.split('/').at(-1)],
  });
  return Number(rows[0]?.bytes);
}

function unfinished({ client, name }: TestBucket) {
  return client.send(new ListMultipartUploadsCommand({ Bucket: name })).then(({ Uploads = [] }) => Uploads);
}

describe('what is offered', () => {
  test('OPTIONS names version, extensions, the largest upload and the checksums', async () => {
    const { status, headers } = await tus('OPTIONS', '/files', { headers: { 'tus-resumable': '' } });
    expect(status).toBe(204);
    expect(headers).toMatchObject({
      'tus-version': '1.0.0',
      'tus-resumable': '1.0.0',
      'tus-max-size': String(10_000 * 64 * MiB),
      'tus-checksum-algorithm': 'sha1,sha256,sha512,md5,crc32',
    });
    expect(String(headers['tus-extension']).split(',').sort()).toEqual([
      'checksum',
      'concatenation',
      'creation',
      'creation-defer-length',
      'creation-with-upload',
      'expiration',
      'termination',
    ]);
  });

  test('another version, another type and an upload that is not there are refused', async () => {
    const old = await tus('POST', '/files', { headers: { 'tus-resumable': '0.2.2', 'upload-length': '1' } });
    expect(old).toMatchObject({ status: 412, headers: { 'tus-version': '1.0.0' } });
    const typed = { 'content-type': 'text/plain', 'upload-offset': '0' };
    expect(await tus('PATCH', '/files/x', { headers: typed, body: someBytes(1) })).toMatchObject({
      status: 415,
    });
    expect(await tus('HEAD', '/files/nobody')).toMatchObject({ status: 404 });
    expect(await patch('/files/nobody', 0, someBytes(1))).toMatchObject({ status: 404 });
    expect(await tus('GET', '/files/nobody')).toMatchObject({ status: 405 });
    const endless = { 'upload-length': String(2 ** 50) };
    expect(await tus('POST', '/files', { headers: endless })).toMatchObject({ status: 413 });
    const unlucky = { 'upload-length': '1', 'upload-metadata': 'filename not-base64!' };
    expect(await tus('POST', '/files', { headers: unlucky })).toMatchObject({ status: 400 });
  });
});

describe('bytes', () => {
  test('pieces of a MiB are kept until they are a part, and no part is sent twice', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(2 * PART + 3 * MiB + 17);
    const path = await create(bucket, 'pieces', { 'upload-length': String(bytes.byteLength) });
    for (let offset = 0; offset < bytes.byteLength; offset += MiB) {
      expect(await offsetOf(path)).toBe(offset);
      const answer = await patch(path, offset, bytes.subarray(offset, offset + MiB));
      const reached = Math.min(bytes.byteLength, offset + MiB);
      expect(answer).toMatchObject({ status: 204, headers: { 'upload-offset': String(reached) } });
      if (reached < bytes.byteLength) expect(await tailOf(path)).toBe(reached % PART);
    }
    expect(await objectSha256(bucket, 'pieces')).toBe(sha256(bytes));
    const sent = [...rig.proxy.parts({ bucket: bucket.name })];
    expect(sent.map(([part, { count }]) => [part, count])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
    ]);
    const { headers } = await tus('HEAD', path);
    expect(headers).toMatchObject({
      'upload-offset': String(bytes.byteLength),
      'upload-length': String(bytes.byteLength),
    });
    expect(headers['upload-expires']).toBeUndefined();
  });

  test('a part that S3 has no more is asked for again, and the others are not', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(2 * PART);
    const path = await create(bucket, 'contradicted', { 'upload-length': String(bytes.byteLength) });
    expect(await patch(path, 0, bytes.subarray(0, PART))).toMatchObject({ status: 204 });
    const [upload] = await unfinished(bucket);
    const at = { Bucket: bucket.name, Key: 'contradicted', UploadId: upload?.UploadId };
    await bucket.client.send(new UploadPartCommand({ ...at, PartNumber: 1, Body: someBytes(5 * MiB) }));
    expect(await patch(path, PART, bytes.subarray(PART))).toMatchObject({ status: 409 });
    expect(await offsetOf(path)).toBe(0);
    expect(await patch(path, 0, bytes.subarray(0, PART))).toMatchObject({ status: 204 });
    expect(await offsetOf(path)).toBe(bytes.byteLength);
    expect(await objectSha256(bucket, 'contradicted')).toBe(sha256(bytes));
  });

  test.each(['a part that S3 has no more', 'chunks that fit no part'])(
    'whoever looks first is not told that all is there: %s',
    async (what) => {
      const bucket = await rig.bucket();
      const known = what === 'a part that S3 has no more';
      const bytes = someBytes(2 * PART);
      const length = { 'upload-length': String(bytes.byteLength) };
      const path = await create(bucket, 'seen', known ? length : { 'upload-defer-length': '1' });
      const sendChunk = async (chunk: number): Promise<number> => {
        const at = `${api.url}/api/v1/sessions/${path.split('/').at(-1)}/chunks/${chunk}`;
        const body = new Uint8Array(bytes.subarray(chunk * PART, (chunk + 1) * PART));
        return (await fetch(at, { method: 'PUT', body })).status;
      };
      expect([await sendChunk(0), await sendChunk(1)]).toEqual([200, 200]);
      if (known) {
        const [upload] = await unfinished(bucket);
        const at = { Bucket: bucket.name, Key: 'seen', UploadId: upload?.UploadId };
        await bucket.client.send(new UploadPartCommand({ ...at, PartNumber: 1, Body: someBytes(5 * MiB) }));
        expect(await offsetOf(path)).toBe(0);
      } else {
        expect(await patch(path, bytes.byteLength, Buffer.alloc(0), length)).toMatchObject({ status: 409 });
        expect(await tus('HEAD', path)).toMatchObject({ status: 409 });
      }
      expect(await keysIn(bucket)).toEqual([]);
      expect(await tus('DELETE', path)).toMatchObject({ status: 204 });
    },
  );

  test('what a connection brought before it broke counts, and nothing else', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(PART + 5 * MiB);
    const path = await create(bucket, 'broken', { 'upload-length': String(bytes.byteLength) });
    const broken = openPatch(api.url, path, 0, { 'content-length': String(bytes.byteLength) });
    await broken.write(bytes.subarray(0, PART + 2 * MiB));
    await eventually(() => rig.proxy.parts({ bucket: bucket.name }).has(1), { what: 'the first part' });
    broken.reset();
    await broken.answered;
    const offset = await eventually(async () => {
      const now = await offsetOf(path);
      return now > PART ? now : undefined;
    });
    expect(offset).toBeLessThanOrEqual(PART + 2 * MiB);
    expect(await patch(path, offset, bytes.subarray(offset))).toMatchObject({ status: 204 });
    expect(await objectSha256(bucket, 'broken')).toBe(sha256(bytes));
    expect(rig.proxy.parts({ bucket: bucket.name }).get(1)?.count).toBe(1);
  });

  test('a wrong offset is a conflict, and more than the length is refused', async () => {
    const bucket = await rig.bucket();
    const path = await create(bucket, 'wrong', { 'upload-length': '10' });
    expect(await patch(path, 0, someBytes(4))).toMatchObject({ status: 204 });
    expect(await patch(path, 0, someBytes(4))).toMatchObject({ status: 409 });
    expect(await patch(path, 4, someBytes(7))).toMatchObject({ status: 413 });
    const chunked = openPatch(api.url, path, 4, { 'transfer-encoding': 'chunked' });
    await chunked.write(someBytes(7));
    expect(await chunked.end()).toBe(413);
    expect(await offsetOf(path)).toBe(4);
    expect(await tus('DELETE', path)).toMatchObject({ status: 204 });
  });

  test('a refused body is read on, so that the connection can be used again', async () => {
    const bucket = await rig.bucket();
    const path = await create(bucket, 'refused', { 'upload-length': '10' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = tusCaller(api.url, agent);
    const headers = { ...OFFSET_STREAM, 'upload-offset': '0', 'transfer-encoding': 'chunked' };
    expect(await kept('PATCH', path, { headers, body: someBytes(20 * MiB) })).toMatchObject({ status: 413 });
    const since = performance.now();
    expect(await kept('HEAD', path)).toMatchObject({ status: 200, headers: { 'upload-offset': '0' } });
    expect(performance.now() - since).toBeLessThan(10_000);
    agent.destroy();
    expect(await tus('DELETE', path)).toMatchObject({ status: 204 });
  });

  test('all bytes are there and nobody made an object of them: whoever looks does', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(1000);
    const path = await create(bucket, 'left', { 'upload-length': '1000' });
    const sent = await fetch(`${api.url}/api/v1/sessions/${path.split('/').at(-1)}/chunks/0`, {
      method: 'PUT',
      body: bytes,
    });
    expect(sent.status).toBe(200);
    expect(await keysIn(bucket)).toEqual([]);
    expect(await offsetOf(path)).toBe(1000);
    expect(await objectSha256(bucket, 'left')).toBe(sha256(bytes));
  });

  test('an empty upload is complete at once, also when nobody knew that it would be', async () => {
    const bucket = await rig.bucket();
    await create(bucket, 'empty', { 'upload-length': '0' });
    const path = await create(bucket, 'later', { 'upload-defer-length': '1' });
    expect(await tus('HEAD', path)).toMatchObject({ status: 200, headers: { 'upload-defer-length': '1' } });
    expect(await patch(path, 0, Buffer.alloc(0), { 'upload-length': '0' })).toMatchObject({ status: 204 });
    for (const key of ['empty', 'later'])
      expect(await objectSha256(bucket, key)).toBe(sha256(Buffer.alloc(0)));
  });

  test('bytes may come with the creation', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(300 * KiB);
    const headers = { ...into(bucket, 'with'), ...OFFSET_STREAM, 'upload-length': String(bytes.byteLength) };
    const first = await tus('POST', '/files', { headers, body: bytes.subarray(0, 1000) });
    expect(first).toMatchObject({ status: 201, headers: { 'upload-offset': '1000' } });
    const { location = '' } = first.headers;
    expect(await patch(location, 1000, bytes.subarray(1000))).toMatchObject({ status: 204 });
    expect(await objectSha256(bucket, 'with')).toBe(sha256(bytes));
    const all = { ...headers, ...into(bucket, 'all') };
    expect(await tus('POST', '/files', { headers: all, body: bytes })).toMatchObject({ status: 201 });
    expect(await objectSha256(bucket, 'all')).toBe(sha256(bytes));
  });

  test('a length that comes late counts from then on', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(18 * MiB);
    const path = await create(bucket, 'deferred', { 'upload-defer-length': '1' });
    expect(await patch(path, 0, bytes.subarray(0, 17 * MiB))).toMatchObject({ status: 204 });
    const length = { 'upload-length': String(bytes.byteLength) };
    expect(await patch(path, 17 * MiB, bytes.subarray(17 * MiB, 17 * MiB + 5), length)).toMatchObject({
      status: 204,
    });
    expect(await tus('HEAD', path)).toMatchObject({
      headers: { ...length, 'upload-offset': String(17 * MiB + 5) },
    });
    expect(await patch(path, 17 * MiB + 5, Buffer.alloc(0), { 'upload-length': '1' })).toMatchObject({
      status: 400,
    });
    expect(await patch(path, 17 * MiB + 5, bytes.subarray(17 * MiB + 5))).toMatchObject({ status: 204 });
    expect(await objectSha256(bucket, 'deferred')).toBe(sha256(bytes));
  });
});

describe('names', () => {
  test('metadata say where it goes and what it is, and come back as they were', async () => {
    const bucket = await rig.bucket();
    const headers = into(bucket, 'films/a.bin', {
      filename: 'Käse 🧀.txt',
      filetype: 'text/plain',
      own: '1',
    });
    const made = await tus('POST', '/files', { headers: { ...headers, 'upload-length': '3' } });
    const { location = '' } = made.headers;
    await patch(location, 0, Buffer.from('abc'));
    expect((await tus('HEAD', location)).headers['upload-metadata']).toBe(headers['upload-metadata']);
    const object = await bucket.client.send(
      new HeadObjectCommand({ Bucket: bucket.name, Key: 'films/a.bin' }),
    );
    expect(object).toMatchObject({ ContentType: 'text/plain', ContentLength: 3 });
  });

  test('without a key it goes under its id, by the last step of its name', async () => {
    const bucket = await rig.bucket();
    const headers = {
      'upload-metadata': metadataOf({ bucket: bucket.name, filename: '../../etc/pass\u0007wd' }),
      'upload-length': '1',
    };
    const { headers: answered } = await tus('POST', '/files', { headers });
    const path = answered.location ?? '';
    await patch(path, 0, Buffer.from('x'));
    expect(await keysIn(bucket)).toEqual([`tus/${path.split('/').at(-1)}/pass_wd`]);
  });
});

describe('checksums', () => {
  test.each(['sha1', 'sha256', 'sha512', 'md5'])('%s: other bytes do not count', async (algorithm) => {
    const bucket = await rig.bucket();
    const bytes = someBytes(PART + MiB);
    const path = await create(bucket, 'checked', { 'upload-length': String(bytes.byteLength) });
    const digest = createHash(algorithm).update(bytes).digest('base64');
    const wrong = Buffer.from(bytes);
    wrong[PART + 5] = (wrong[PART + 5] ?? 0) ^ 1;
    const header = { 'upload-checksum': `${algorithm} ${digest}` };
    expect(await patch(path, 0, wrong, header)).toMatchObject({ status: 460 });
    expect(await offsetOf(path)).toBe(0);
    expect(rig.proxy.parts({ bucket: bucket.name }).size).toBe(0);
    expect(await patch(path, 0, bytes, header)).toMatchObject({ status: 204 });
    expect(await objectSha256(bucket, 'checked')).toBe(sha256(bytes));
  });

  test('a body that broke off cannot be looked at, so none of it counts', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(2 * MiB);
    const path = await create(bucket, 'cut', { 'upload-length': String(bytes.byteLength) });
    const header = { 'upload-checksum': `md5 ${createHash('md5').update(bytes).digest('base64')}` };
    const broken = openPatch(api.url, path, 0, { ...header, 'content-length': String(bytes.byteLength) });
    await broken.write(bytes.subarray(0, MiB));
    broken.reset();
    await broken.answered;
    expect(await offsetOf(path)).toBe(0);
    expect(await patch(path, 0, bytes, header)).toMatchObject({ status: 204 });
  });

  test('an algorithm that is not offered, and a digest of another length, are refused', async () => {
    const bucket = await rig.bucket();
    const path = await create(bucket, 'odd', { 'upload-length': '1' });
    for (const header of ['sha3 AAAA', 'md5 AAAA', 'md5', 'crc32 AAAAAA==AA']) {
      expect(await patch(path, 0, someBytes(1), { 'upload-checksum': header })).toMatchObject({
        status: 400,
      });
    }
    const crc = { 'upload-checksum': 'crc32 6Le+Qw==' };
    expect(await patch(path, 0, Buffer.from('b'), crc)).toMatchObject({ status: 460 });
    expect(await patch(path, 0, Buffer.from('a'), crc)).toMatchObject({ status: 204 });
  });
});

describe('ends', () => {
  test('an upload that is given up leaves nothing, and is gone', async () => {
    const bucket = await rig.bucket();
    const path = await create(bucket, 'given-up', { 'upload-length': String(2 * PART) });
    await patch(path, 0, someBytes(PART + 1));
    expect(await unfinished(bucket)).toHaveLength(1);
    expect(await tus('DELETE', path)).toMatchObject({ status: 204 });
    expect(await tus('HEAD', path)).toMatchObject({ status: 410 });
    expect(await patch(path, PART + 1, someBytes(1))).toMatchObject({ status: 410 });
    await eventually(async () => (await unfinished(bucket)).length === 0);
    expect(await tailOf(path)).toBe(0);
  });

  test('one that is complete cannot be given up any more', async () => {
    const bucket = await rig.bucket();
    const path = await create(bucket, 'done', { 'upload-length': '1' });
    await patch(path, 0, Buffer.from('x'));
    expect(await tus('DELETE', path)).toMatchObject({ status: 409 });
    expect(await keysIn(bucket)).toEqual(['done']);
  });

  test('it says when it expires, and does', async () => {
    const bucket = await rig.bucket();
    const short = await startTestApi(rig.surroundings, { env: { LONGSHORE_SESSION_TTL: '3s' } });
    try {
      const call = tusCaller(short.url);
      const headers = { ...into(bucket, 'expiring'), 'upload-length': '5' };
      const made = await call('POST', '/files', { headers });
      const { location = '', 'upload-expires': expires = '' } = made.headers;
      const left = Date.parse(String(expires)) - Date.now();
      expect(left).toBeGreaterThan(0);
      expect(left).toBeLessThanOrEqual(3_000);
      expect((await call('HEAD', location)).headers['upload-expires']).toBeDefined();
      await eventually(async () => (await unfinished(bucket)).length === 0, { timeout: 30_000 });
      await eventually(async () => (await call('HEAD', location)).status === 410);
    } finally {
      await short.close();
    }
  });

  test('a multipart upload that somebody aborted begins again from the first byte', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(2 * PART + 100);
    const path = await create(bucket, 'lost', { 'upload-length': String(bytes.byteLength) });
    await patch(path, 0, bytes.subarray(0, PART + 1000));
    for (const { Key, UploadId } of await unfinished(bucket)) {
      await bucket.client.send(new AbortMultipartUploadCommand({ Bucket: bucket.name, Key, UploadId }));
    }
    expect(await patch(path, PART + 1000, bytes.subarray(PART + 1000))).toMatchObject({ status: 409 });
    await eventually(async () => (await offsetOf(path)) === 0);
    expect(await patch(path, 0, bytes)).toMatchObject({ status: 204 });
    expect(await objectSha256(bucket, 'lost')).toBe(sha256(bytes));
  });
});

describe('two at once', () => {
  test('while bytes flow nobody else may send; a connection that went silent lets go of what it brought', async () => {
    const bucket = await rig.bucket();
    const bytes = someBytes(3 * MiB);
    const path = await create(bucket, 'twice', { 'upload-length': String(bytes.byteLength) });
    const first = openPatch(api.url, path, 0, { 'content-length': String(bytes.byteLength) });
    let flowing = true;
    let sent = 0;
    const flow = (async () => {
      for (; flowing && sent < MiB; sent += 4 * KiB) {
        await first.write(bytes.subarray(sent, sent + 4 * KiB));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    await eventually(() => sent > 0);
    expect(await patch(path, 0, bytes)).toMatchObject({ status: 423 });
    flowing = false;
    await flow;
    const offset = await eventually(async () => ((await offsetOf(path)) === sent ? sent : undefined), {
      timeout: 20_000,
    });
    expect(await patch(path, offset, bytes.subarray(offset))).toMatchObject({ status: 204 });
    first.reset();
    expect(await objectSha256(bucket, 'twice')).toBe(sha256(bytes));
  });

  test('of two processes the one that began last writes', async () => {
    const bucket = await rig.bucket();
    const other = await startTestApi(rig.surroundings);
    try {
      const bytes = someBytes(2 * MiB);
      const path = await create(bucket, 'processes', { 'upload-length': String(bytes.byteLength) });
      const first = openPatch(api.url, path, 0, { 'content-length': String(bytes.byteLength) });
      await first.write(bytes.subarray(0, MiB));
      const all = { ...OFFSET_STREAM, 'upload-offset': '0' };
      expect(await tusCaller(other.url)('PATCH', path, { headers: all, body: bytes })).toMatchObject({
        status: 204,
      });
      await first.write(bytes.subarray(MiB));
      expect(await first.end()).toBe(409);
      expect(await objectSha256(bucket, 'processes')).toBe(sha256(bytes));
    } finally {
      await other.close();
    }
  });
});
