/** The demo's own folder, its file, and an environment in which nothing points at other servers. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GiB, MiB } from '../../src/core/limits.js';

/** Source, parts and object, and what the servers need besides. */
const roomFor = (size: number): number => 3 * size + GiB / 2;

/** A new folder for everything, where there is room: the system's temporary one, or the project's data folder. */
export async function makeFolder(size: number): Promise<string> {
  const parents = [tmpdir(), join(import.meta.dirname, '..', '..', '.longshore')];
  for (const parent of parents) {
    await mkdir(parent, { recursive: true });
    const { bavail, bsize } = await statfs(parent);
    if (bavail * bsize < roomFor(size)) continue;
    const folder = await mkdtemp(join(parent, 'longshore-demo-'));
    // Started by root, PostgreSQL runs as another user and has to get through.
    await chmod(folder, 0o711);
    return folder;
  }
  throw new Error(
    `neither ${parents.join(' nor ')} has ${Math.ceil(roomFor(size) / MiB)} MiB free; set TMPDIR`,
  );
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

const OURS = /^LONGSHORE_(?:[A-Z0-9_]+_BIN|CACHE_DIR)$/;
const FOREIGN = /^(?:AWS_|TEMPORAL_|PG|LONGSHORE_|OTEL_)|^(?:DATABASE_URL|CHUNK_SIZE|WORKER_CONCURRENCY)$/;

/** Settings for other servers left out: the demo speaks to its own stack only. */
export function demoEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => OURS.test(name) || !FOREIGN.test(name)));
}

export interface DemoFile {
  path: string;
  name: string;
  sha256: string;
}

/** A key stream is as good as random and ten times as fast to make. */
export async function makeFile(folder: string, size: number, signal: AbortSignal): Promise<DemoFile> {
  const path = join(folder, 'random.bin');
  const stream = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(MiB);
  const chunks = function* (): Generator<Buffer> {
    for (let left = size; left > 0; left -= zeros.length) {
      const chunk = stream.update(zeros.subarray(0, left));
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(Readable.from(chunks()), createWriteStream(path, { mode: 0o644 }), { signal });
  return { path, name: basename(path), sha256: hash.digest('hex') };
}

export async function hashOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

export async function untilSignal(signal: AbortSignal): Promise<void> {
  // A pending promise alone does not keep a process alive.
  const alive = setInterval(() => undefined, 60_000);
  try {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    clearInterval(alive);
  }
}
