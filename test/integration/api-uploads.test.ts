/** Upload jobs by the REST API, on real servers. */
import { randomUUID } from 'node:crypto';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { jobWorkflowId } from '../../src/core/ids.js';
import { addApiKey, revokeApiKey } from '../../src/infra/catalog/api-keys.js';
import { startTestApi, type Json } from '../helpers/api.js';
import { startApiBench, type ApiBench } from '../helpers/api-bench.js';
import { keysIn } from '../helpers/rig.js';
import { eventually } from '../helpers/wait.js';

let bench: ApiBench;
let rig: ApiBench['rig'];
let api: ApiBench['api'];
let db: ApiBench['db'];

beforeAll(async () => {
  bench = await startApiBench();
  ({ rig, api, db } = bench);
});
afterAll(() => bench.close());

const uploads = '/api/v1/uploads/';

async function ended(id: string): Promise<Json> {
  return await eventually(
    async () => {
      const { body } = await api.get(uploads + id);
      return ['COMPLETED', 'FAILED', 'CANCELLED'].includes(String(body['state'])) ? body : false;
    },
    { timeout: 60_000, what: `the end of ${id}` },
  );
}

describe('a job', () => {
  test('is created, goes through, and is shown with the fields of the file upload service', async () => {
    const bucket = await rig.bucket();
    const folder = await bench.folderOf({ 'a.txt': 'a', 'b.txt': 'bb', 'c.bin': 'ccc' });
    const id = randomUUID();
    const ask = {
      upload_id: id,
      source_folder: folder,
      destination_bucket: bucket.name,
      pattern: '*.txt',
      monitor: false,
    };
    const created = await api.send('POST', uploads, ask);
    expect(created.status).toBe(200);
    expect(created.body).toEqual({ upload_id: id, status: 'created' });
    const view = await ended(id);
    expect(view).toMatchObject({
      upload_id: id,
      progress: 1,
      state: 'COMPLETED',
      total_files: 2,
      completed_files: 2,
      failed_files: 0,
      completed_bytes: 3,
      phase: 'done',
      failure: null,
      source_folder: folder,
      destination_bucket: bucket.name,
      monitor: { enabled: false },
    });
    for (const time of ['created_at', 'updated_at']) expect(view[time]).toMatch(/^\d{4}-.*Z$/);
    expect((await keysIn(bucket)).sort()).toEqual(['a.txt', 'b.txt']);

    expect((await api.send('POST', uploads, ask)).body).toEqual({ upload_id: id, status: 'created' });
    const other = await api.send('POST', uploads, { ...ask, pattern: '*.bin' });
    expect(other).toMatchObject({ status: 409, body: { code: 'Conflict' } });

    const files = await api.get(`${uploads}${id}/files?state=UPLOADED&limit=1`);
    expect(files.body['files']).toMatchObject([{ path: 'a.txt', state: 'UPLOADED', key: 'a.txt', size: 1 }]);
    const next = await api.get(
      `${uploads}${id}/files?state=UPLOADED&cursor=${String(files.body['next_cursor'])}`,
    );
    expect(next.body).toMatchObject({ files: [{ path: 'b.txt', failure_reason: null }], next_cursor: null });

    const gone = await api.send('DELETE', uploads + id);
    expect(gone.body).toEqual({ upload_id: id, status: 'deleted' });
    expect((await api.get(uploads + id)).status).toBe(404);
  });

  test('asked for a hundred times at once is one job, with one answer', async () => {
    const bucket = await rig.bucket();
    const folder = await bench.folderOf({ f: 'f' });
    const id = randomUUID();
    const ask = { upload_id: id, source_folder: folder, destination_bucket: bucket.name, monitor: false };
    const answers = await Promise.all(Array.from({ length: 100 }, () => api.send('POST', uploads, ask)));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(
      new Set([`200 ${JSON.stringify({ upload_id: id, status: 'created' })}`]),
    );
    await ended(id);
    const runs = rig.temporal.client.workflow.list({ query: `WorkflowId = '${jobWorkflowId(id)}'` });
    const seen = await eventually(async () => {
      const found = [];
      for await (const run of runs) found.push(run.runId);
      return found.length > 0 ? found : false;
    });
    expect(seen).toHaveLength(1);
  });

  test('lies under a root, also when a link leads out of it', async () => {
    const ask = (source_folder: string) => ({ source_folder, destination_bucket: 'some-bucket' });
    const outside = { status: 403, body: { code: 'SourceOutsideRoot' } };
    expect(await api.send('POST', uploads, ask('/etc'))).toMatchObject(outside);
    expect(await api.send('POST', uploads, ask(`${rig.folder}/../..`))).toMatchObject(outside);
    const link = join(rig.folder, randomUUID());
    await symlink('/etc', link);
    expect(await api.send('POST', uploads, ask(link))).toMatchObject(outside);
  });
});

describe('while it runs', () => {
  test('it is limited, paused, resumed, followed by events, and cancelled', async () => {
    const bucket = await rig.bucket();
    const content = 'x'.repeat(20_000);
    const folder = await bench.folderOf(
      Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`f${n}`, content])),
    );
    const id = randomUUID();
    await api.send('POST', uploads, {
      upload_id: id,
      source_folder: folder,
      destination_bucket: bucket.name,
      monitor: false,
      limits: { bandwidth: 40_000 },
    });
    const { seen, end } = await follow(id);
    const shown = (state: string): boolean => seen.some(({ data }) => data['state'] === state);
    const stateIs = async (state: string): Promise<boolean> =>
      (await api.get(uploads + id)).body['state'] === state;
    await eventually(() => stateIs('IN_PROGRESS'), { timeout: 30_000 });
    expect((await api.send('DELETE', uploads + id)).status).toBe(409);
    expect((await api.send('POST', `${uploads}${id}/pause`)).body).toEqual({
      upload_id: id,
      status: 'pausing',
    });
    await eventually(() => shown('PAUSED'), { timeout: 30_000, what: 'the event that it is paused' });
    expect(await stateIs('PAUSED')).toBe(true);
    expect((await api.send('POST', `${uploads}${id}/resume`)).status).toBe(200);
    await eventually(() => stateIs('IN_PROGRESS'), { timeout: 30_000 });
    expect((await api.send('PATCH', `${uploads}${id}/limits`, { bandwidth: 50_000 })).status).toBe(200);
    expect((await api.get(uploads + id)).body['limits']).toEqual({ bandwidth: 50_000, concurrency: null });
    expect((await api.send('POST', `${uploads}${id}/cancel`)).status).toBe(200);
    expect(await ended(id)).toMatchObject({ state: 'CANCELLED' });
    await end;
    expect(seen.at(-1)).toMatchObject({ event: 'end', data: { state: 'CANCELLED' } });
    expect(shown('IN_PROGRESS')).toBe(true);
    expect(await api.send('POST', `${uploads}${id}/pause`)).toMatchObject({ status: 409 });
  });

  test('streams of events are counted, and given back when their reader goes', async () => {
    const few = await startTestApi(rig.surroundings, { env: { LONGSHORE_API_STREAMS: '1' } });
    onTestFinished(() => few.close());
    const bucket = await rig.bucket();
    const id = randomUUID();
    await few.send('POST', uploads, {
      upload_id: id,
      source_folder: await bench.folderOf({ f: 'x'.repeat(100_000) }),
      destination_bucket: bucket.name,
      monitor: false,
      limits: { bandwidth: 1 },
    });
    const reader = new AbortController();
    const first = await fetch(`${few.url}${uploads}${id}/events`, { signal: reader.signal });
    expect(first.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect((await few.get(`${uploads}${id}/events`)).status).toBe(429);
    reader.abort();
    const again = await eventually(async () => {
      const gone = new AbortController();
      const answer = await fetch(`${few.url}${uploads}${id}/events`, { signal: gone.signal });
      gone.abort();
      return answer.status === 200;
    });
    expect(again).toBe(true);
    await api.send('POST', `${uploads}${id}/cancel`);
    await ended(id);
  });
});

interface Event {
  event: string;
  data: Json;
}

/** The events of a job as they come. */
async function follow(id: string): Promise<{ seen: Event[]; end: Promise<void> }> {
  const answer = await fetch(`${api.url}${uploads}${id}/events`);
  const seen: Event[] = [];
  const read = async (): Promise<void> => {
    let text = '';
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString('utf8');
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const [event = '', data = ''] = block.split('\n');
        if (!event.startsWith('event: ')) continue;
        seen.push({ event: event.slice(7), data: JSON.parse(data.slice('data: '.length)) as Json });
      }
    }
  };
  return { seen, end: read() };
}

test('a key that was revoked meanwhile moves nothing any more', async () => {
  const bucket = await rig.bucket();
  const folder = await bench.folderOf({ f: 'f' });
  const key = await addApiKey(db, { name: 'k', grants: [{ bucket: bucket.name, prefix: 'mine/' }] });
  const ask = {
    source_folder: folder,
    destination_bucket: bucket.name,
    destination_prefix: 'mine/',
    monitor: false,
  };
  const headers = { authorization: `Bearer ${key.token}` };
  const id = String((await api.send('POST', uploads, ask, headers)).body['upload_id']);
  await ended(id);
  await revokeApiKey(db, key.id);
  await writeFile(join(folder, 'g'), 'g');
  expect((await api.send('POST', `${uploads}${id}/sync`)).status).toBe(200);
  await eventually(async () => (await api.get(uploads + id)).body['state'] === 'FAILED', { timeout: 30_000 });
  expect((await api.get(uploads + id)).body['failure']).toMatchObject({ code: 'NotGranted' });
  expect(await keysIn(bucket)).toEqual(['mine/f']);
});

describe('lists', () => {
  test('are filtered and paged, and hold what a key may see', async () => {
    const bucket = await rig.bucket();
    const folder = await bench.folderOf({ f: 'f' });
    const key = await addApiKey(db, { name: 'k', grants: [{ bucket: bucket.name, prefix: 'mine/' }] });
    const headers = { authorization: `Bearer ${key.token}` };
    const ask = (prefix: string) => ({
      source_folder: folder,
      destination_bucket: bucket.name,
      destination_prefix: prefix,
      monitor: false,
    });
    const create = async (prefix: string, as: Record<string, string> = {}): Promise<string> =>
      String((await api.send('POST', uploads, ask(prefix), as)).body['upload_id']);
    expect(await api.send('POST', uploads, ask(''), headers)).toMatchObject({ status: 403 });
    const theirs = await create('theirs/');
    const mine = [await create('mine/a/', headers), await create('mine/b/', headers)];
    for (const id of [theirs, ...mine]) await ended(id);
    const page = async (query: string, as: Record<string, string> = {}): Promise<Json> =>
      (await api.get(`${uploads}?bucket=${bucket.name}&${query}`, as)).body;
    const ids = (body: Json): string[] =>
      (body['uploads'] as { upload_id: string }[]).map(({ upload_id }) => upload_id);
    expect(ids(await page('')).sort()).toEqual([theirs, ...mine].sort());
    expect(ids(await page('', headers)).sort()).toEqual([...mine].sort());
    expect(ids(await page('state=FAILED'))).toEqual([]);
    expect(ids(await page('monitored=true'))).toEqual([]);
    const first = await page('limit=2');
    const second = await page(`limit=2&cursor=${String(first['next_cursor'])}`);
    expect([...ids(first), ...ids(second)]).toHaveLength(3);
    expect(second['next_cursor']).toBeNull();
    expect((await api.get(uploads + theirs, headers)).status).toBe(404);
    expect((await api.send('POST', `${uploads}${theirs}/cancel`, undefined, headers)).status).toBe(404);
  });
});
