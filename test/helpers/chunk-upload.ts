/** A session of many chunks through the API into the null sink, and what it cost. */
import { readFile } from 'node:fs/promises';
import { Pool, request } from 'undici';
import { expect } from 'vitest';
import { MIN_PART_SIZE } from '../../src/core/limits.js';
import { forkNullSink } from './null-sink-process.js';
import { startLongshore, startWorker } from './processes.js';
import { startRig, type Rig } from './rig.js';

export interface ChunkUpload {
  historyEvents: number;
  /** Largest resident size of the API, in bytes. */
  peakMemory: number;
  seconds: number;
}

/** The default of a session. */
const AT_ONCE = 10;

/** `chunks` chunks of 5 MiB. Throws unless the whole of them is there, once, and nothing else. */
export async function uploadChunks(chunks: number): Promise<ChunkUpload> {
  const [rig, sink] = await Promise.all([startRig({ worker: false }), forkNullSink()]);
  try {
    const cost = await upload(rig, sink.endpoint, chunks);
    const { objects, uploads } = await sink.state();
    expect([...objects.values()]).toMatchObject([{ size: chunks * MIN_PART_SIZE, parts: chunks }]);
    expect(uploads).toBe(0);
    return cost;
  } finally {
    await rig.close();
    await sink.close();
  }
}

async function upload(rig: Rig, endpoint: string, chunks: number): Promise<ChunkUpload> {
  const { s3 } = rig.surroundings;
  if (s3 === undefined) throw new Error('the rig has no S3 server');
  // Past the proxy, which would cost more than the upload.
  const env = { ...rig.surroundings.env, LONGSHORE_API_PORT: '0', LONGSHORE_API_RATE: '0' };
  const surroundings = { ...rig.surroundings, s3: { ...s3, endpoint }, env };
  const api = startLongshore(['api', '--json', '--log-level', 'warn'], surroundings);
  const worker = await startWorker(surroundings);
  const [, url = ''] = await api.said(/"url":"(http:[^"]+)"/, { timeout: 60_000 });
  const size = chunks * MIN_PART_SIZE;
  const id = await begin(url, size);
  const began = performance.now();
  await send(url, id, chunks);
  const seconds = (performance.now() - began) / 1000;
  const done = await post(`${url}/api/v1/sessions/${id}/complete`, { size, chunks });
  expect(done).toMatchObject({ state: 'COMPLETED', size, verification: 'full' });
  const { historyEvents } = await rig.client.view(id);
  const peakMemory = await peakOf(api.pid);
  const rate = Math.round(size / seconds / 2 ** 20);
  console.info(
    `${chunks} chunks: ${seconds.toFixed(1)} s, ${rate} MiB/s, ${historyEvents} events, API ${Math.round(peakMemory / 2 ** 20)} MiB`,
  );
  await Promise.all([api.end(), worker.end()]);
  return { historyEvents, peakMemory, seconds };
}

async function begin(url: string, size: number): Promise<string> {
  const ask = { name: 'many', bucket: 'null', key: 'many', expected_size: size, chunk_size: MIN_PART_SIZE };
  return String((await post(`${url}/api/v1/sessions/`, ask))['upload_id']);
}

async function post(url: string, body: object): Promise<Record<string, unknown>> {
  const headers = { 'content-type': 'application/json' };
  const answer = await request(url, { method: 'POST', headers, body: JSON.stringify(body) });
  const json = (await answer.body.json()) as Record<string, unknown>;
  if (answer.statusCode !== 200) throw new Error(`POST ${url}: ${JSON.stringify(json)}`);
  return json;
}

async function send(url: string, id: string, chunks: number): Promise<void> {
  const pool = new Pool(url, { connections: AT_ONCE });
  const body = Buffer.alloc(MIN_PART_SIZE, 7);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let chunk = next++; chunk < chunks; chunk = next++) {
      const path = `/api/v1/sessions/${id}/chunks/${chunk}`;
      const answer = await pool.request({ method: 'PUT', path, body });
      const text = await answer.body.text();
      if (answer.statusCode !== 200) throw new Error(`chunk ${chunk}: HTTP ${answer.statusCode}, ${text}`);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  } finally {
    await pool.destroy();
  }
}

async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
