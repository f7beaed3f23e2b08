/** What `@uppy/aws-s3` asks of a Companion, answer by answer. The browser itself is in test/e2e. */
import { createHash, randomBytes } from 'node:crypto';
import { AbortMultipartUploadCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { getSession } from '../../src/infra/catalog/sessions.js';
import type { Answer } from '../helpers/api.js';
import { keysIn, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, endUnlessEnded, sessionScene, type SessionScene } from '../helpers/sessions-api.js';

let rig: Rig;
beforeAll(async () => {
  rig = await startRig({ server: 'minio' });
});
afterAll(() => rig.close());

const PIECES = [randomBytes(5 * MiB), randomBytes(5 * MiB), randomBytes(77)];
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

interface Created {
  key: string;
  uploadId: string;
  bucket: string;
}

async function create({ api }: SessionScene, body: object): Promise<Created> {
  const { status, body: created, text } = await api.send('POST', '/s3/multipart', body);
  expect({ status, text }).toMatchObject({ status: 200 });
  const { uploadId } = created as unknown as Created;
  onTestFinished(() => endUnlessEnded(api, uploadId));
  return created as unknown as Created;
}

const at = ({ uploadId, key }: Created, more = '', query: Record<string, string> = {}): string =>
  `/s3/multipart/${uploadId}${more}?${new URLSearchParams({ key, ...query }).toString()}`;

async function put(answer: Answer, body: Buffer): Promise<string> {
  const { url } = answer.body as { url: string };
  // As the plug-in does: no header of its own.
  const sent = await fetch(url, { method: 'PUT', body });
  expect(sent.status).toBe(200);
  return (sent.headers.get('etag') ?? '').replaceAll('"', '');
}

describe('multipart', () => {
  test('create, sign, list, complete', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, {
      ...{ filename: 'abc123-film.mp4', type: 'video/mp4' },
      metadata: { name: 'Füße.mp4', type: 'video/mp4', relativePath: null, Caption: 'schön' },
    });
    expect(created.bucket).toBe(scene.bucket.name);
    expect((await scene.api.get(at(created))).text).toBe('[]');
    const parts: { PartNumber: number; ETag: string }[] = [];
    for (const [index, piece] of PIECES.entries()) {
      const signed = await scene.api.get(at(created, `/${index + 1}`));
      expect(signed).toMatchObject({ status: 200, body: { expires: 900 } });
      parts.push({ PartNumber: index + 1, ETag: await put(signed, piece) });
    }
    const listed = await scene.api.get(at(created));
    expect(listed.status).toBe(200);
    expect(JSON.parse(listed.text)).toEqual(
      parts.map(({ PartNumber, ETag }, index) => ({
        PartNumber,
        ETag: `"${ETag}"`,
        Size: PIECES[index]?.length,
      })),
    );
    const done = await scene.api.send('POST', at(created, '/complete'), { parts });
    expect(done).toMatchObject({ status: 200, body: { key: created.key, bucket: created.bucket } });
    expect(done.body['location']).toBe(
      `${rig.surroundings.s3?.endpoint}/${created.bucket}/${encodeURI(created.key)}`,
    );
    // The first answer may have been lost.
    expect(await scene.api.send('POST', at(created, '/complete'), { parts })).toMatchObject({
      status: 200,
      body: { key: created.key },
    });
    // A page that was reloaded before it heard of it: no part is left to send, and complete says the same.
    const left = JSON.parse((await scene.api.get(at(created))).text) as {
      PartNumber: number;
      ETag: string;
    }[];
    expect(left.map(({ PartNumber }) => PartNumber)).toEqual([1, 2, 3]);
    const again = left.map(({ PartNumber, ETag }) => ({ PartNumber, ETag }));
    expect((await scene.api.send('POST', at(created, '/complete'), { parts: again })).status).toBe(200);
    const view = await scene.ends(created.uploadId);
    expect(view).toMatchObject({ name: 'Füße.mp4', verification: 'size', content_type: 'video/mp4' });
    expect(await objectSha256(scene.bucket, created.key)).toBe(sha256(Buffer.concat(PIECES)));
    const { Metadata = {} } = await scene.bucket.client.send(
      new HeadObjectCommand({ Bucket: created.bucket, Key: created.key }),
    );
    expect(Metadata['caption']).toBe('=?UTF-8?B?c2Now7Zu?=');
    expect(Object.keys(Metadata)).not.toContain('relativepath');
  });

  test('a batch of signatures, each for its part', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, { filename: 'batch', type: '', metadata: {} });
    const { status, body } = await scene.api.get(at(created, '/batch', { partNumbers: '2,1,3' }));
    expect(status).toBe(200);
    const urls = body['presignedUrls'] as Record<string, string>;
    expect(Object.keys(urls)).toEqual(['1', '2', '3']);
    for (const [part, url] of Object.entries(urls))
      expect(new URL(url).searchParams.get('partNumber')).toBe(part);
  });

  test('complete without a part names it', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, { filename: 'gap', type: 'a/b' });
    const parts = [];
    for (const part of [1, 3]) {
      const signed = await scene.api.get(at(created, `/${part}`));
      parts.push({ PartNumber: part, ETag: await put(signed, PIECES[part - 1] as Buffer) });
    }
    const refused = await scene.api.send('POST', at(created, '/complete'), { parts });
    expect(refused).toMatchObject({ status: 409, body: { code: 'PartsMissing' } });
  });

  test('abort leaves nothing, and is asked for in vain once it is complete', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, { filename: 'gone', type: 'a/b' });
    await put(await scene.api.get(at(created, '/1')), PIECES[0] as Buffer);
    expect(await scene.api.send('DELETE', at(created))).toMatchObject({ status: 200, text: '{}' });
    await scene.ends(created.uploadId, 'CANCELLED');
    expect(await keysIn(scene.bucket)).toEqual([]);
    expect((await scene.api.get(at(created, '/2'))).status).toBe(409);
  });

  test('a multipart upload that somebody aborted is begun anew under the same id', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, { filename: 'again', type: 'a/b' });
    await put(await scene.api.get(at(created, '/1')), PIECES[0] as Buffer);
    const db = catalogOf(rig);
    onTestFinished(() => db.end());
    const before = await getSession(db, created.uploadId);
    await scene.bucket.client.send(
      new AbortMultipartUploadCommand({
        ...{ Bucket: created.bucket, Key: created.key, UploadId: before?.s3UploadId ?? '' },
      }),
    );
    expect((await scene.api.get(at(created))).text).toBe('[]');
    const piece = PIECES[2] as Buffer;
    const parts = [{ PartNumber: 1, ETag: await put(await scene.api.get(at(created, '/1')), piece) }];
    expect((await scene.api.send('POST', at(created, '/complete'), { parts })).status).toBe(200);
    await scene.ends(created.uploadId);
    expect(await objectSha256(scene.bucket, created.key)).toBe(sha256(piece));
  });

  test('another key than the upload’s is another upload', async () => {
    const scene = await sessionScene(rig);
    const created = await create(scene, { filename: 'own', type: 'a/b' });
    const wrong = { ...created, key: 'somebody/elses' };
    for (const path of [at(wrong), at(wrong, '/1'), at(wrong, '/batch', { partNumbers: '1' })]) {
      expect((await scene.api.get(path)).status).toBe(404);
    }
    expect((await scene.api.send('DELETE', at(wrong))).status).toBe(404);
    for (const part of ['0', '10001', 'x']) {
      expect((await scene.api.get(at(created, `/${part}`))).status).toBeGreaterThanOrEqual(400);
    }
  });
});

describe('a small file', () => {
  const params = (file: Record<string, string>): string =>
    `/s3/params?${new URLSearchParams(file).toString()}`;

  async function post(answer: Answer, body: Buffer, change: Record<string, string> = {}): Promise<Response> {
    const { url, fields } = answer.body as { url: string; fields: Record<string, string> };
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...fields, ...change })) form.set(name, value);
    form.set('file', new Blob([body]));
    return await fetch(url, { method: 'POST', body: form });
  }

  test('goes by a form, and its session ends by itself', async () => {
    const scene = await sessionScene(rig);
    const answer = await scene.api.get(
      params({
        filename: 'r4nd-cat.png',
        type: 'image/png',
        'metadata[name]': 'cat.png',
        'metadata[mood]': 'good',
      }),
    );
    expect(answer).toMatchObject({ status: 200, body: { method: 'POST', expires: 900 } });
    const { fields } = answer.body as { fields: Record<string, string> };
    expect(fields).toMatchObject({ 'content-type': 'image/png', success_action_status: '201' });
    const body = randomBytes(100_000);
    const sent = await post(answer, body);
    expect(sent.status).toBe(201);
    expect(sent.headers.get('etag')).toBeTruthy();
    const id = (fields['x-amz-meta-longshore-upload-id'] ?? '').replace(/^upload\//, '');
    const view = await scene.ends(id);
    expect(view).toMatchObject({
      mode: 'whole',
      name: 'cat.png',
      size: body.length,
      metadata: { mood: 'good' },
    });
    expect(await objectSha256(scene.bucket, fields['key'] ?? '')).toBe(sha256(body));
  });

  test('the form holds to its key and its type', async () => {
    const scene = await sessionScene(rig);
    const answer = await scene.api.get(params({ filename: 'held', type: 'image/png' }));
    const { fields } = answer.body as { fields: Record<string, string> };
    const id = (fields['x-amz-meta-longshore-upload-id'] ?? '').replace(/^upload\//, '');
    onTestFinished(() => endUnlessEnded(scene.api, id));
    const body = randomBytes(10);
    for (const change of [
      { key: 'elsewhere' },
      { 'content-type': 'text/html' },
      { 'x-amz-meta-longshore-nonce': 'x' },
    ]) {
      expect((await post(answer, body, change)).status).toBe(403);
    }
    expect(await keysIn(scene.bucket)).toEqual([]);
  });

  test('goes by a PUT where the server has no forms', async () => {
    const scene = await sessionScene(rig, { LONGSHORE_S3_FORMS: 'false' });
    const answer = await scene.api.get(params({ filename: 'put.txt', type: 'text/plain' }));
    expect(answer).toMatchObject({ status: 200, body: { method: 'PUT', fields: {} } });
    const { url, headers } = answer.body as { url: string; headers: Record<string, string> };
    const body = randomBytes(1000);
    expect((await fetch(url, { method: 'PUT', body })).status).toBeGreaterThanOrEqual(400);
    expect((await fetch(url, { method: 'PUT', body, headers })).status).toBe(200);
    const id = (headers['x-amz-meta-longshore-upload-id'] ?? '').replace(/^upload\//, '');
    const view = await scene.ends(id);
    expect(view).toMatchObject({ mode: 'whole', size: body.length, content_type: 'text/plain' });
    expect(await objectSha256(scene.bucket, String(view['key']))).toBe(sha256(body));
  });

  test('without a name there is none', async () => {
    const scene = await sessionScene(rig);
    expect((await scene.api.get(params({ type: 'a/b' }))).status).toBe(400);
    expect((await scene.api.get(params({ filename: '', type: 'a/b' }))).status).toBe(400);
  });
});

test('pages of an allowed origin may send what the plug-ins send, and read what they read', async () => {
  const origin = 'https://app.example';
  const scene = await sessionScene(rig, { LONGSHORE_API_ORIGINS: origin });
  for (const [method, headers] of [
    ['POST', 'content-type'],
    ['PATCH', 'content-type, tus-resumable, upload-offset, upload-checksum'],
    ['HEAD', 'tus-resumable'],
    ['DELETE', 'authorization'],
  ] as const) {
    const answer = await scene.api.send('OPTIONS', '/s3/multipart', undefined, {
      ...{ origin, 'access-control-request-method': method, 'access-control-request-headers': headers },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-methods')?.split(', ')).toContain(method);
    const allowed = answer.headers.get('access-control-allow-headers')?.split(', ') ?? [];
    for (const name of headers.split(', ')) expect(allowed).toContain(name);
  }
  const answer = await scene.api.get('/health', { origin });
  const exposed = answer.headers.get('access-control-expose-headers')?.split(', ') ?? [];
  for (const name of ['etag', 'location', 'upload-offset', 'tus-resumable']) expect(exposed).toContain(name);
});
