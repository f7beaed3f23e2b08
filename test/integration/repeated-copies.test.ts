/** Copies that workers make: asked for again under an id that is long done, and beside sessions that are dead. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { PutBucketVersioningCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/core/errors.js';
import type { Json } from '../helpers/api.js';
import { longshore } from '../helpers/processes.js';
import { objectSha256, startRig, type Rig } from '../helpers/rig.js';
import { sessionScene, type SessionScene } from '../helpers/sessions-api.js';
import { abortStrangers } from '../helpers/sweeps.js';
import { forgetWorkflow } from '../helpers/temporal.js';
import { eventually } from '../helpers/wait.js';

let rig: Rig;
beforeAll(async () => {
  rig = await startRig();
});
afterAll(() => rig.close());

const shaOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const CONFLICT = { status: 409, body: { code: 'Conflict' } };

async function put({ bucket }: SessionScene, key: string, bytes: Buffer): Promise<void> {
  await bucket.client.send(new PutObjectCommand({ Bucket: bucket.name, Key: key, Body: bytes }));
}

async function versionedScene(): Promise<SessionScene> {
  const scene = await sessionScene(rig);
  const VersioningConfiguration = { Status: 'Enabled' } as const;
  const { client, name } = scene.bucket;
  await client.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration }));
  return scene;
}

interface Version {
  node: string;
  key: string;
  versionId: string;
}

/** By a session from begin to end. */
async function version({ begin, ends }: SessionScene, bytes: Buffer, body: Json = {}): Promise<Version> {
  const begun = await begin({ name: 'small.pb', payload: bytes.toString('base64'), ...body });
  const ended = await ends(String(begun['upload_id']));
  const field = (name: string): string => String(ended[name]);
  return { node: field('node_id'), key: field('key'), versionId: field('version_id') };
}

describe('an id under which an object was brought, once Temporal has forgotten it', () => {
  test('answers for that object, and brings nothing over what came since', async () => {
    const scene = await sessionScene(rig);
    const { api, bucket } = scene;
    const at = (key: string) => ({ bucket: bucket.name, key });
    const id = randomUUID();
    const ask = { object_id: id, source: { kind: 'object', ...at('from') }, destination: at('to') };
    const send = (change: Json = {}) => api.send('POST', '/api/v1/objects/', { ...ask, ...change });
    await put(scene, 'from', randomBytes(100));
    const first = await send();
    expect(first, first.text).toMatchObject({ status: 200, body: { object_id: id } });
    await rig.client.result(id);
    const newest = randomBytes(100);
    await put(scene, 'to', newest);
    await forgetWorkflow(rig.temporal.client, `upload/${id}`);

    expect(await send()).toMatchObject({ status: 200, body: first.body });
    const other = { source: { kind: 'object', ...at('other') } };
    for (const change of [{ destination: at('elsewhere') }, other])
      expect(await send(change)).toMatchObject(CONFLICT);
    expect(await rig.client.lastRun(id)).toBeUndefined();
    expect(await objectSha256(bucket, 'to')).toBe(shaOf(newest));
  });

  test('puts no node back again', async () => {
    const scene = await versionedScene();
    const { api, bucket } = scene;
    const first = await version(scene, randomBytes(10));
    const { node, key } = first;
    await version(scene, randomBytes(11), { node_id: node });
    const stranger = await version(scene, randomBytes(12));
    const id = randomUUID();
    const ask = { upload_id: id, version_id: first.versionId };
    const rollBack = (of: string) => api.send('POST', `/api/v1/nodes/${of}/rollback`, ask);
    const begun = await rollBack(node);
    expect(begun, begun.text).toMatchObject({ status: 200, body: { upload_id: id } });
    await rig.client.result(id);
    const newest = randomBytes(13);
    await version(scene, newest, { node_id: node });
    await forgetWorkflow(rig.temporal.client, `upload/${id}`);

    expect(await rollBack(node)).toMatchObject({ status: 200, body: begun.body });
    const rotate = { upload_id: id, encryption: { type: 'SSE_S3' } };
    expect(await api.send('POST', `/api/v1/nodes/${node}/rotate`, rotate)).toMatchObject({ status: 200 });
    expect(await rollBack(stranger.node)).toMatchObject(CONFLICT);
    expect(await rig.client.lastRun(id)).toBeUndefined();
    expect(await objectSha256(bucket, key)).toBe(shaOf(newest));
  });
});

describe('a session that was terminated', () => {
  test('holds up nobody who copies its node', async () => {
    const scene = await versionedScene();
    const { api, bucket } = scene;
    const [one, two] = [randomBytes(10), randomBytes(11)];
    const { node, key, versionId } = await version(scene, one);
    const second = await version(scene, two, { node_id: node });
    const next = await api.send('POST', '/api/v1/sessions/', { name: 'next', node_id: node });
    const rollBack = () => api.send('POST', `/api/v1/nodes/${node}/rollback`, { version_id: versionId });
    expect(await rollBack()).toMatchObject(CONFLICT);
    const byHand = await longshore(['rollback', node, versionId], rig.surroundings);
    expect(byHand.code, byHand.stderr).toBe(EXIT.conflict);
    const session = String(next.body['upload_id']);
    await rig.temporal.client.workflow.getHandle(`upload/${session}`).terminate('by hand');
    await eventually(async () => (await rig.client.lastRun(session)) === 'ended');

    const begun = await rollBack();
    expect(begun.status, begun.text).toBe(200);
    await rig.client.result(String(begun.body['upload_id']));
    expect(await objectSha256(bucket, key)).toBe(shaOf(one));
    const again = await longshore(['rollback', node, second.versionId], rig.surroundings);
    expect(again.code, again.stderr).toBe(EXIT.ok);
    expect(await objectSha256(bucket, key)).toBe(shaOf(two));
    await abortStrangers(bucket);
  });
});
