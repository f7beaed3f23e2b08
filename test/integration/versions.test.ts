/** Nodes and their versions: kept by the server, listed, and brought back by a copy. */
import { createHash, randomBytes } from 'node:crypto';
import { HeadObjectCommand, PutBucketVersioningCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import { addApiKey } from '../../src/infra/catalog/api-keys.js';
import type { Json, TestApi } from '../helpers/api.js';
import type { TestBucket } from '../helpers/buckets.js';
import { faults } from '../helpers/fault-proxy.js';
import { longshore } from '../helpers/processes.js';
import { failureOf, objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { catalogOf, sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { isSkipped } from '../helpers/stack.js';
import { eventually } from '../helpers/wait.js';

const shaOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function versioned(bucket: TestBucket): Promise<void> {
  const VersioningConfiguration = { Status: 'Enabled' } as const;
  await bucket.client.send(new PutBucketVersioningCommand({ Bucket: bucket.name, VersioningConfiguration }));
}

interface Sent {
  node: string;
  versionId: string;
}

/** A session from begin to end; its version. */
async function send({ begin, api, ends }: SessionScene, bytes: Buffer, body: Json): Promise<Sent> {
  const session = await begin({ name: 'reading.pb', expected_size: bytes.length, ...body });
  const [id, chunkSize] = [String(session['upload_id']), Number(session['chunk_size'])];
  for (let n = 0; n * chunkSize < bytes.length; n++) {
    const answer = await fetch(`${api.url}/api/v1/sessions/${id}/chunks/${n}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(bytes.subarray(n * chunkSize, (n + 1) * chunkSize)),
    });
    expect(answer.status, await answer.text()).toBe(200);
  }
  const done = await api.send('POST', `/api/v1/sessions/${id}/complete`, {});
  expect(done.status, done.text).toBe(200);
  const ended = await ends(id);
  return { node: String(ended['node_id']), versionId: String(ended['version_id']) };
}

async function nodeOf(api: TestApi, node: string): Promise<Json> {
  const { status, body } = await api.get(`/api/v1/nodes/${node}`);
  expect(status).toBe(200);
  return body;
}

async function rollBack(api: TestApi, node: string, version: string, upload?: string): Promise<string> {
  const more = upload === undefined ? {} : { upload_id: upload };
  const answer = await api.send('POST', `/api/v1/nodes/${node}/rollback`, { version_id: version, ...more });
  expect(answer.status, answer.text).toBe(200);
  return String(answer.body['upload_id']);
}

describe.each(['versitygw', 'minio'] as const)('versions on %s', (server) => {
  describe.skipIf(isSkipped(server))('of a node', () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await startRig({ server });
    });
    afterEach(() => rig.proxy.clearFaults());
    afterAll(() => rig.close());

    // versitygw ignores encryption, and is refused for it.
    const encrypted: Json = server === 'minio' ? { encryption: { type: 'SSE_S3' } } : {};

    it('are kept by each session, listed, and brought back under the same key', async () => {
      const scene = await sessionScene(rig);
      const { api, bucket } = scene;
      await versioned(bucket);
      const [one, two] = [randomBytes(6 * MiB), randomBytes(7 * MiB)];
      const first = await send(scene, one, {
        ...encrypted,
        connector_id: 'meters',
        content_type: 'application/x-protobuf',
        metadata: { place: 'roof' },
      });
      const second = await send(scene, two, { ...encrypted, node_id: first.node });
      expect(second).toEqual({
        node: first.node,
        versionId: expect.not.stringMatching(first.versionId) as string,
      });
      const node = await nodeOf(api, first.node);
      expect(node).toMatchObject({ status: 'ACTIVE', version_id: second.versionId, size: two.length });

      const path = `/api/v1/nodes/${first.node}/versions`;
      const { body } = await api.get(path);
      expect(body['versions']).toMatchObject([
        { version_id: second.versionId, size: two.length, latest: true, current: true },
        { version_id: first.versionId, size: one.length, latest: false, current: false },
      ]);
      const page = await api.get(`${path}?limit=1`);
      expect(page.body['versions']).toMatchObject([{ version_id: second.versionId }]);
      const rest = await api.get(`${path}?limit=1&cursor=${String(page.body['next_cursor'])}`);
      expect(rest.body['versions']).toMatchObject([{ version_id: first.versionId }]);

      const id = await rollBack(api, first.node, first.versionId);
      await rig.client.result(id);
      const key = String(node['key']);
      expect(await objectSha256(bucket, key)).toBe(shaOf(one));
      const back = await nodeOf(api, first.node);
      expect(back).toMatchObject({ status: 'ACTIVE', size: one.length, upload_id: id, key });
      expect(back['encryption']).toEqual(node['encryption']);
      const head = await bucket.client.send(new HeadObjectCommand({ Bucket: bucket.name, Key: key }));
      expect(head.ContentType).toBe('application/x-protobuf');
      expect(head.Metadata).toMatchObject({ place: 'roof', 'node-id': first.node, 'connector-id': 'meters' });
      expect(head.ServerSideEncryption).toBe(server === 'minio' ? 'AES256' : undefined);
      expect([first.versionId, second.versionId]).not.toContain(back['version_id']);
      const after = (await api.get(path)).body['versions'] as Json[];
      expect(after).toHaveLength(3);
      expect(after[0]).toMatchObject({ version_id: back['version_id'], latest: true, current: true });
    });

    it('are copied once by a request that is sent again, also after the worker’s answer was lost', async () => {
      const scene = await sessionScene(rig);
      const { api, bucket } = scene;
      await versioned(bucket);
      const first = await send(scene, randomBytes(MiB), { connector_id: 'meters' });
      await send(scene, randomBytes(MiB), { node_id: first.node });
      const next = await scene.begin({ name: 'again', node_id: first.node, expected_size: 10 });
      const ask = { version_id: first.versionId };
      expect(await api.send('POST', `/api/v1/nodes/${first.node}/rollback`, ask)).toMatchObject({
        ...{ status: 409, body: { code: 'Conflict' } },
      });
      await api.send('POST', `/api/v1/sessions/${String(next['upload_id'])}/cancel`);
      await scene.ends(String(next['upload_id']), 'CANCELLED');
      rig.proxy.fault({ op: 'CopyObject', bucket: bucket.name, times: 1 }, faults.dropReply());
      const upload = `back-${first.node}`;
      expect(await rollBack(api, first.node, first.versionId, upload)).toBe(upload);
      expect(await rollBack(api, first.node, first.versionId, upload)).toBe(upload);
      await rig.client.result(upload);
      expect(await rollBack(api, first.node, first.versionId, upload)).toBe(upload);
      expect(rig.proxy.calls('CopyObject', { bucket: bucket.name })).toBe(1);
      expect((await api.get(`/api/v1/nodes/${first.node}/versions`)).body['versions']).toHaveLength(3);
    });

    it('are not copied again over what came after a copy whose answer was lost', async () => {
      const scene = await sessionScene(rig);
      const { api, bucket } = scene;
      await versioned(bucket);
      const first = await send(scene, randomBytes(MiB), {});
      await send(scene, randomBytes(MiB), { node_id: first.node });
      const key = String((await nodeOf(api, first.node))['key']);
      const newest = randomBytes(100);
      const put = new PutObjectCommand({ Bucket: bucket.name, Key: key, Body: newest });
      const copy = { op: 'CopyObject', bucket: bucket.name, times: 1 } as const;
      const after = async (): Promise<void> => void (await bucket.client.send(put));
      rig.proxy.fault(copy, faults.hook({ after }));
      rig.proxy.fault(copy, faults.dropReply());
      const id = await rollBack(api, first.node, first.versionId);
      expect(await failureOf(rig.client, id)).toMatchObject({ code: 'SourceChanged' });
      expect(await objectSha256(bucket, key)).toBe(shaOf(newest));
      expect(rig.proxy.calls('CopyObject', { bucket: bucket.name })).toBe(1);
    });

    it('are not mistaken: an unknown one, the present one, an unknown node', async () => {
      const scene = await sessionScene(rig);
      const { api, bucket } = scene;
      await versioned(bucket);
      const { node, versionId } = await send(scene, randomBytes(10), {});
      const ask = (id: string, version: string) =>
        api.send('POST', `/api/v1/nodes/${id}/rollback`, { version_id: version });
      expect(await ask(node, versionId)).toMatchObject({ status: 409, body: { code: 'Conflict' } });
      expect(await ask(node, '01ARZ3NDEKTSV4RRFFQ69G5FAV')).toMatchObject({
        status: 404,
        body: { code: 'NotFound' },
      });
      expect(await ask(node, 'no version')).toMatchObject({ status: 400 });
      expect(await ask('no-such-node', versionId)).toMatchObject({ status: 404 });
      expect(await nodeOf(api, node)).toMatchObject({ version_id: versionId });
    });

    it('of a neighbour, whose key only begins the same, are not listed', async () => {
      const scene = await sessionScene(rig);
      const { api, bucket } = scene;
      await versioned(bucket);
      const { node } = await send(scene, randomBytes(10), { key: 'a/key' });
      await bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: 'a/key.more', Body: 'x' }));
      const { body } = await api.get(`/api/v1/nodes/${node}/versions`);
      expect(body['versions']).toHaveLength(1);
    });
  });
});

describe('a node without versions', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
  });
  afterAll(() => rig.close());

  it('is listed by its connector, page by page, and stays ACTIVE when its next session is cancelled', async () => {
    const scene = await sessionScene(rig);
    const { api } = scene;
    const nodes: string[] = [];
    for (let n = 0; n < 3; n++)
      nodes.push((await send(scene, randomBytes(5), { connector_id: 'of-three' })).node);
    const list = async (more: string): Promise<Json> =>
      (await api.get(`/api/v1/nodes/?connector_id=of-three&limit=2${more}`)).body;
    const page = await list('');
    const rest = await list(`&cursor=${String(page['next_cursor'])}`);
    const ids = [...(page['nodes'] as Json[]), ...(rest['nodes'] as Json[])].map((node) => node['node_id']);
    expect(ids).toEqual(nodes.reverse());
    expect(rest['next_cursor']).toBeNull();

    const [node = ''] = nodes;
    const { upload_id: id } = await scene.begin({ name: 'again', node_id: node, expected_size: 10 });
    await api.send('POST', `/api/v1/sessions/${String(id)}/cancel`);
    await scene.ends(String(id), 'CANCELLED');
    expect(await nodeOf(api, node)).toMatchObject({ status: 'ACTIVE', version_id: null, size: 5 });
    expect((await api.get('/api/v1/nodes/none')).status).toBe(404);
  });
});

describe('an API key', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
  });
  afterAll(() => rig.close());

  it('sees, and brings back, the nodes that it has a grant for, and no others', async () => {
    const scene = await sessionScene(rig);
    const { api, bucket } = scene;
    await versioned(bucket);
    const { node } = await send(scene, randomBytes(10), { key: 'in/here' });
    const { versionId } = await send(scene, randomBytes(10), { node_id: node });
    const pool = catalogOf(rig);
    const headersOf = async (prefix: string): Promise<Record<string, string>> => {
      const { token } = await addApiKey(pool, { name: prefix, grants: [{ bucket: bucket.name, prefix }] });
      return { authorization: `Bearer ${token}` };
    };
    const [theirs, others] = [await headersOf('in/'), await headersOf('out/')];
    await pool.end();
    const path = `/api/v1/nodes/${node}`;
    for (const [headers, status, seen] of [
      [theirs, 200, 1],
      [others, 404, 0],
    ] as const) {
      expect((await api.get(path, headers)).status).toBe(status);
      expect((await api.get(`${path}/versions`, headers)).status).toBe(status);
      expect((await api.get('/api/v1/nodes/', headers)).body['nodes']).toHaveLength(seen);
    }
    const ask = { version_id: versionId };
    expect((await api.send('POST', `${path}/rollback`, ask, others)).status).toBe(404);
    // The newest already: it was let through.
    expect((await api.send('POST', `${path}/rollback`, ask, theirs)).status).toBe(409);
  });
});

describe('longshore rollback', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
  });
  afterAll(() => rig.close());

  it('brings a node back, and says no where there is nothing to do', async () => {
    const scene = await sessionScene(rig);
    await versioned(scene.bucket);
    const bytes = randomBytes(100);
    const first = await send(scene, bytes, {});
    const second = await send(scene, randomBytes(100), { node_id: first.node });
    const done = await longshore(['rollback', first.node, first.versionId, '--json'], rig.surroundings);
    expect(done.code, done.stderr).toBe(EXIT.ok);
    const node = await eventually(async () => {
      const now = await nodeOf(scene.api, first.node);
      return now['version_id'] === second.versionId ? undefined : now;
    });
    expect(await objectSha256(scene.bucket, String(node['key']))).toBe(shaOf(bytes));
    const again = await longshore(['rollback', first.node, String(node['version_id'])], rig.surroundings);
    expect(again.code).toBe(EXIT.conflict);
    expect((await longshore(['rollback', 'none', 'x'], rig.surroundings)).stderr).toContain(
      'there is no node',
    );
  });
});
