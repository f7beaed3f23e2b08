/** Twenty minutes of everyday life: a monitored folder that changes, an API that is asked, uploads one after the other. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KiB, MiB } from '../src/core/limits.js';
import { UPLOADS_BUCKET } from '../src/dev/stack.js';
import { makeTree } from './job-files.js';
import { Sampler, trendLine, type Trend } from './job-sampling.js';
import { keepFigures, withScene, type Scene } from './job-scene.js';
import { runMeasured } from './measure.js';
import { endChild, startApi } from './tools/api.js';
import type { BenchOptions } from './jobs.js';

const MONITORED = 'soak-monitored';
const INTERVAL = '10s';
const CHANGE_MS = 3_000;
const ASK_MS = 500;

export async function benchSoak({ minutes, scale, signal, log }: BenchOptions): Promise<void> {
  const seconds = Math.max(30, minutes * 60 * scale);
  await withScene({ room: 1024 * MiB, signal, log }, async (scene) => {
    const api = await startApi(scene);
    const watched = await startSlowUpload(scene, seconds);
    try {
      const sampler = new Sampler(
        { worker: () => scene.pidOf('worker'), api: () => pidOf(api.child), cli: () => pidOf(watched) },
        2_000,
      );
      log(`soaking for ${(seconds / 60).toFixed(1)} minutes`);
      const time = new AbortController();
      const timer = setTimeout(() => time.abort(), seconds * 1000);
      signal.addEventListener('abort', () => time.abort(), { once: true });
      const over = time.signal;
      const [changes, asked, uploads] = await Promise.all([
        change(scene, over),
        ask(api.url, over),
        uploadAgainAndAgain(scene, over),
      ]).finally(() => {
        clearTimeout(timer);
        time.abort();
      });
      signal.throwIfAborted();
      const figures = { seconds, changes, ...asked, uploads, trends: sampler.stop() };
      for (const line of linesOf(figures)) console.log(line);
      await keepFigures('soak', { scale, ...figures }, log);
    } finally {
      await Promise.all([endChild(watched), endChild(api.child)]);
    }
  });
}

/** A command that follows a job for the whole time: its bandwidth is chosen so that it lasts longer. */
async function startSlowUpload(
  { cli, dataDir, env, folder, signal }: Scene,
  seconds: number,
): Promise<ChildProcess> {
  const bandwidth = 64 * KiB;
  const count = Math.ceil((seconds * 1.5 * bandwidth) / (16 * KiB));
  const made = await makeTree(join(folder, 'slow'), [{ count, size: 16 * KiB }], signal);
  const limits = ['--bandwidth', String(bandwidth)];
  const args = [
    cli,
    'upload',
    '--json',
    '--data-dir',
    dataDir,
    ...limits,
    made.path,
    `s3://${UPLOADS_BUCKET}/slow`,
  ];
  return spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
}

function pidOf({ pid, exitCode, signalCode }: ChildProcess): number | undefined {
  return exitCode === null && signalCode === null ? pid : undefined;
}

/** Files of a monitored folder are written, grown and removed. Answers how often. */
async function change(scene: Scene, over: AbortSignal): Promise<number> {
  const { cli, dataDir, env, folder, signal } = scene;
  const path = join(folder, 'monitored');
  await makeTree(path, [{ count: 500, size: 4 * KiB }], signal);
  const options = ['--id', MONITORED, '--interval', INTERVAL, '--stability', '2s', '--data-dir', dataDir];
  const target = `s3://${UPLOADS_BUCKET}/monitored`;
  await runMeasured(process.execPath, [cli, 'sync', '--json', '--detach', ...options, path, target], env);
  await mkdir(join(path, 'changing'));
  let changes = 0;
  for (; await pause(CHANGE_MS, over); changes++) {
    const file = join(path, 'changing', `f${changes % 50}`);
    if (changes % 5 === 4) await rm(file, { force: true });
    else if (changes % 5 === 3) await appendFile(file, randomBytes(KiB));
    else await writeFile(file, randomBytes(8 * KiB));
  }
  return changes;
}

interface Asked {
  requests: number;
  failedRequests: number;
}

/** What a page that shows jobs asks. */
async function ask(url: string, over: AbortSignal): Promise<Asked> {
  const paths = [
    '/api/v1/uploads/',
    `/api/v1/uploads/${MONITORED}`,
    `/api/v1/uploads/${MONITORED}/files?limit=100`,
    '/health',
  ];
  const asked: Asked = { requests: 0, failedRequests: 0 };
  while (await pause(ASK_MS, over)) {
    const path = paths[asked.requests % paths.length] ?? '/health';
    const response = await fetch(`${url}${path}`);
    await response.arrayBuffer();
    asked.requests += 1;
    // Asked for before it is there, a job is not found.
    if (response.status >= 500) asked.failedRequests += 1;
  }
  return asked;
}

/** Small folders by a command each. Answers how many. */
async function uploadAgainAndAgain(
  { cli, dataDir, env, folder, signal }: Scene,
  over: AbortSignal,
): Promise<number> {
  let uploads = 0;
  for (; await pause(1_000, over); uploads++) {
    const made = await makeTree(join(folder, `again-${uploads}`), [{ count: 500, size: 8 * KiB }], signal);
    const target = `s3://${UPLOADS_BUCKET}/again-${uploads}`;
    await runMeasured(
      process.execPath,
      [cli, 'upload', '--json', '--data-dir', dataDir, made.path, target],
      env,
    );
    await rm(made.path, { recursive: true });
  }
  return uploads;
}

/** False once it is over. */
async function pause(ms: number, over: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal: over });
    return true;
  } catch (error) {
    if (over.aborted) return false;
    throw error;
  }
}

interface Figures extends Asked {
  seconds: number;
  changes: number;
  uploads: number;
  trends: Record<string, Trend>;
}

function linesOf({ seconds, changes, requests, failedRequests, uploads, trends }: Figures): string[] {
  return [
    '',
    `${(seconds / 60).toFixed(1)} minutes: ${changes} changes in a monitored folder, ${uploads} uploads of 500 files, ` +
      `${requests} requests to the API, ${failedRequests} answered by 5xx`,
    ...Object.entries(trends).map(([name, trend]) => trendLine(name, trend)),
    '',
  ];
}
