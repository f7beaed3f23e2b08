/**
 * `npm run bench:sessions -- [--sessions 50] [--size 64MiB] [--chunk 16MiB] [--runs 3]`: sessions at once through the API, and
 * the same bytes by UploadPart straight to the server, in turn, on one machine. Prints the share of the rate that is left
 * and the API's memory beside their bounds, and writes bench/results/job-sessions-<time>.json. `--many` sends one session
 * of 10,000 chunks of 5 MiB to a server that keeps no bytes, and looks at the history too. Ends with 1 beyond a bound.
 */
import { setMaxListeners } from 'node:events';
import { randomFillSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { crc32 } from '@node-rs/crc32';
import { Pool } from 'undici';
import { MiB } from '../src/core/limits.js';
import { run } from '../src/dev/run.js';
import { UPLOADS_BUCKET } from '../src/dev/stack.js';
import { formatSize, parseSize } from '../src/infra/config.js';
import { createObjectStore } from '../src/infra/s3/index.js';
import { crcToBase64 } from '../src/infra/s3/once.js';
import type { ObjectStore } from '../src/infra/s3/store.js';
import { forkNullSink } from '../test/helpers/null-sink-process.js';
import { keepFigures, withScene, type Scene } from './job-scene.js';
import { cpuOf, peakRss } from './measure.js';
import { median } from './report.js';
import { endChild, startApi, type Api } from './tools/api.js';

process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

interface Shape {
  sessions: number;
  /** Bytes of each. */
  size: number;
  chunk: number;
}

/** What a shape may cost; figures of another shape are shown without a bound. */
interface Bounds {
  /** Of the rate of UploadPart straight to the server, begun to completed. */
  share?: number;
  rss?: number;
  /** Of a workflow's history. */
  events?: number;
}

/** It looks at no signature. */
const SINK_KEYS = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_REGION: 'us-east-1' };
/** By then a virtual machine has given memory that was freed back to its host. */
const REST_MS = 6_000;
const FIFTY: Shape = { sessions: 50, size: 64 * MiB, chunk: 16 * MiB };
const MANY: Shape = { sessions: 1, size: 10_000 * 5 * MiB, chunk: 5 * MiB };

function boundsOf({ sessions, size, chunk }: Shape): Bounds {
  if (size / chunk >= 10_000) return { rss: 300 * MiB, events: 2500 };
  return sessions === FIFTY.sessions && size === FIFTY.size ? { share: 0.6, rss: 400 * MiB } : {};
}

/** Bytes a second of the chunks alone, and with beginning and completing. */
interface Figures {
  chunks: number;
  whole: number;
  /** The id of the first. */
  first: string;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      sessions: { type: 'string', default: '50' },
      size: { type: 'string', default: '64MiB' },
      chunk: { type: 'string', default: '16MiB' },
      runs: { type: 'string' },
      many: { type: 'boolean', default: false },
      profile: { type: 'string' },
    },
  });
  const { many } = values;
  const shape: Shape = many
    ? MANY
    : {
        sessions: Number(values.sessions),
        size: parseSize(values.size) ?? FIFTY.size,
        chunk: parseSize(values.chunk) ?? FIFTY.chunk,
      };
  const log = (line: string): void => console.error(line);
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort(new Error('interrupted')));
  const room = (many ? 0 : 2 * shape.sessions * shape.size) + 512 * MiB;
  const sink = many ? await forkNullSink() : undefined;
  const env = sink === undefined ? {} : { AWS_ENDPOINT_URL_S3: sink.endpoint, ...SINK_KEYS };
  try {
    await withScene({ room, env, signal: stop.signal, log }, async (scene) => {
      const profile = values.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', values.profile];
      const api = await startApi(scene, profile);
      const store = createObjectStore(scene.config.s3);
      try {
        const runs = Number(values.runs ?? (many ? 1 : 3));
        await compare(scene, { shape, api, store, runs, warmUp: !many });
      } finally {
        store.close();
        await endChild(api.child);
      }
    });
  } finally {
    await sink?.close();
  }
}

interface Compared {
  shape: Shape;
  api: Api;
  store: ObjectStore;
  runs: number;
  /** The first round of each does not count, and what was sent is deleted. */
  warmUp: boolean;
}

async function compare(scene: Scene, { shape, api, store, runs, warmUp }: Compared): Promise<void> {
  const bytes = randomFillSync(Buffer.alloc(shape.chunk));
  const through: Figures[] = [];
  const straight: Figures[] = [];
  // Both begin alike: what the other wrote is gone, and so is its memory, which costs whoever takes it back.
  const prepare = async (): Promise<void> => {
    if (!warmUp) return;
    await empty(store);
    await run('sync', [], { env: process.env });
    await sleep(REST_MS, undefined, { signal: scene.signal });
  };
  for (let round = warmUp ? 0 : 1; round <= runs; round++) {
    scene.signal.throwIfAborted();
    await prepare();
    const direct = await sendStraight(store, shape, bytes, `straight-${round}`);
    await prepare();
    const cpuBefore = cpuOf(api.child.pid ?? 0);
    const own = await sendThrough(api.url, shape, bytes, `through-${round}`);
    const cpu = cpuOf(api.child.pid ?? 0) - cpuBefore;
    scene.log(
      `round ${round}: straight ${rate(direct.chunks)}, through the API ${rate(own.chunks)} (API ${cpu.toFixed(2)} s CPU)`,
    );
    if (round === 0) continue;
    through.push(own);
    straight.push(direct);
  }
  const share = (of: 'chunks' | 'whole'): number =>
    median(through.map((own, at) => own[of] / (straight[at]?.[of] ?? NaN)));
  const rss = peakRss(api.child.pid ?? 0);
  const { historyEvents: events = 0 } = await scene.client.view(through.at(-1)?.first ?? '');
  const { sessions, size, chunk } = shape;
  console.log(
    `${sessions} sessions × ${formatSize(size)} in chunks of ${formatSize(chunk)}: chunks ${(share('chunks') * 100).toFixed(0)} %, ` +
      `begun to completed ${(share('whole') * 100).toFixed(0)} % of the rate of UploadPart straight to the server; ` +
      `API peak ${Math.round(rss / MiB)} MiB; ${events} events of a session`,
  );
  judge(boundsOf(shape), { share: share('whole'), rss, events });
  const figures = {
    shape,
    through,
    straight,
    shares: { chunks: share('chunks'), whole: share('whole') },
    rss,
    events,
    bounds: boundsOf(shape),
  };
  await keepFigures('sessions', figures, scene.log);
}

/** Prints each bound beside its figure; beyond one the bench ends with 1. */
function judge(bounds: Bounds, { share, rss, events }: Required<Bounds>): void {
  const said: [what: string, bound: string, kept: boolean][] = [];
  const percent = (of: number): string => `${(of * 100).toFixed(0)} %`;
  const mib = (of: number): string => `${Math.round(of / MiB)} MiB`;
  if (bounds.share !== undefined)
    said.push([`share ${percent(share)}`, `at least ${percent(bounds.share)}`, share >= bounds.share]);
  if (bounds.rss !== undefined)
    said.push([`API peak ${mib(rss)}`, `less than ${mib(bounds.rss)}`, rss > 0 && rss < bounds.rss]);
  if (bounds.events !== undefined)
    said.push([`${events} events`, `less than ${bounds.events}`, events > 0 && events < bounds.events]);
  for (const [what, bound, kept] of said) {
    console.log(`${kept ? 'kept' : 'BROKEN'}: ${what}, ${bound}`);
    if (!kept) process.exitCode = 1;
  }
  if (said.length === 0) console.log('no bound for this shape');
}

function rate(bytesASecond: number): string {
  return `${Math.round(bytesASecond / MiB)} MiB/s`;
}

const lengths = ({ size, chunk }: Shape): number[] =>
  Array.from({ length: Math.ceil(size / chunk) }, (_, n) => Math.min(chunk, size - n * chunk));

/** Works on all sessions at once. Answers bytes a second. */
async function timed(
  { sessions, size }: Shape,
  begin: (n: number) => Promise<string>,
  send: (id: string, n: number) => Promise<void>,
  complete: (id: string, n: number) => Promise<void>,
): Promise<Figures> {
  const all = Array.from({ length: sessions }, (_, n) => n);
  const began = performance.now();
  const ids = await Promise.all(all.map(begin));
  const sending = performance.now();
  await Promise.all(ids.map(send));
  const sent = performance.now();
  await Promise.all(ids.map(complete));
  const bytes = sessions * size;
  return {
    chunks: (bytes / (sent - sending)) * 1000,
    whole: (bytes / (performance.now() - began)) * 1000,
    first: ids[0] ?? '',
  };
}

async function sendThrough(url: string, shape: Shape, bytes: Buffer, tag: string): Promise<Figures> {
  const pool = new Pool(url, { connections: shape.sessions, headersTimeout: 0, bodyTimeout: 0 });
  const ask = async (
    method: 'POST' | 'PUT',
    path: string,
    body: Buffer | object,
    headers: Record<string, string> = { 'content-type': 'application/json' },
  ): Promise<{ upload_id: string }> => {
    const raw = Buffer.isBuffer(body);
    const answer = await pool.request({
      ...{ method, path: `/api/v1/sessions/${path}`, body: raw ? body : JSON.stringify(body) },
      headers,
    });
    const text = await answer.body.text();
    // A machine that is busy says so; what has an id is asked for again.
    if (answer.statusCode === 503) {
      console.error(`${method} ${path}: HTTP 503, again`);
      return await ask(method, path, body, headers);
    }
    if (answer.statusCode !== 200) throw new Error(`${method} ${path}: HTTP ${answer.statusCode}, ${text}`);
    return JSON.parse(text) as { upload_id: string };
  };
  const { size: expected_size, chunk: chunk_size } = shape;
  try {
    return await timed(
      shape,
      async (n) => {
        const key = `${tag}/${n}`;
        const where = { name: key, bucket: UPLOADS_BUCKET, key };
        return (await ask('POST', '', { ...where, expected_size, chunk_size })).upload_id;
      },
      async (id) => {
        for (const [n, length] of lengths(shape).entries()) {
          const body = bytes.subarray(0, length);
          const crc = crcToBase64(crc32(body));
          await ask('PUT', `${id}/chunks/${n}`, body, { 'x-amz-checksum-crc32': crc });
        }
      },
      async (id) => void (await ask('POST', `${id}/complete`, {})),
    );
  } finally {
    await pool.close();
  }
}

async function sendStraight(store: ObjectStore, shape: Shape, bytes: Buffer, tag: string): Promise<Figures> {
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  const parts = new Map<string, { partNumber: number; etag: string; crc32: string }[]>();
  const refOf = (id: string, n: number) => ({ bucket: UPLOADS_BUCKET, key: `${tag}/${n}`, s3UploadId: id });
  return await timed(
    shape,
    async (n) => {
      const ref = { bucket: UPLOADS_BUCKET, key: `${tag}/${n}` };
      return (await store.createMultipartUpload({ ...ref, checksum: true }, signal)).s3UploadId;
    },
    async (id, n) => {
      const sent = [];
      for (const [at, length] of lengths(shape).entries()) {
        const body = bytes.subarray(0, length);
        const crc = crcToBase64(crc32(body));
        const part = { ...refOf(id, n), partNumber: at + 1, body, crc32: crc };
        const { etag } = await store.uploadPart(part, signal);
        sent.push({ partNumber: at + 1, etag, crc32: crc });
      }
      parts.set(id, sent);
    },
    async (id, n) => {
      const ref = { ...refOf(id, n), parts: parts.get(id) ?? [], size: shape.size };
      await store.completeMultipartUpload(ref, signal);
    },
  );
}

async function empty(store: ObjectStore): Promise<void> {
  const { signal } = new AbortController();
  const { objects } = await store.listObjects({ bucket: UPLOADS_BUCKET, prefix: '' }, signal);
  await store.deleteObjects({ bucket: UPLOADS_BUCKET, keys: objects.map(({ key }) => key) }, signal);
}

await main();
