/** How many monitored jobs one dev server carries: N tiny folders, each looked at once a minute. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inLanes } from '../src/activities/lanes.js';
import { defineJob } from '../src/client/job-spec.js';
import { MONITOR_WORKFLOW } from '../src/core/jobs.js';
import { MiB } from '../src/core/limits.js';
import { UPLOADS_BUCKET } from '../src/dev/stack.js';
import { cpuMeter, Sampler, trendLine, type Trend } from './job-sampling.js';
import { keepFigures, withScene, type Scene } from './job-scene.js';
import { median } from './report.js';
import type { BenchOptions } from './jobs.js';

const JOBS = 1000;
const FILES_EACH = 3;
const INTERVAL_S = 60;
/** Intervals that are watched, after one in which everything settles. */
const WATCHED = 3;
const LANES = 8;

export async function benchMonitors({ scale, signal, log }: BenchOptions): Promise<void> {
  const jobs = Math.max(5, Math.round(JOBS * scale));
  await withScene({ room: 64 * MiB, signal, log }, async (scene) => {
    log(`starting ${jobs} monitored jobs`);
    await startJobs(scene, jobs);
    log(`they are complete; an interval to settle`);
    await sleep(INTERVAL_S * 1000, undefined, { signal });
    const figures = await watch(scene, jobs);
    for (const line of linesOf(figures)) console.log(line);
    await keepFigures('monitors', { scale, ...figures }, log);
  });
}

async function startJobs(scene: Scene, jobs: number): Promise<void> {
  const { client, config, folder, db, signal } = scene;
  const started: string[] = [];
  const numbers = Array.from({ length: jobs }, (_, index) => index);
  await inLanes(numbers, LANES, { stop: signal, abort: signal }, async (index) => {
    const id = `monitored-${String(index).padStart(5, '0')}`;
    const path = join(folder, 'monitored', id);
    await mkdir(path, { recursive: true });
    for (let file = 0; file < FILES_EACH; file++) await writeFile(join(path, `f${file}`), `${id} ${file}`);
    const definition = defineJob(
      {
        folder: path,
        destination: `s3://${UPLOADS_BUCKET}/${id}`,
        monitor: { enabled: true, interval: INTERVAL_S },
      },
      { roots: config.roots, cwd: folder },
    );
    await client.jobs.startJob({ id, definition, db, installation: config.installation });
    started.push(id);
    const result = await client.jobs.result(id);
    if (result.completedFiles !== FILES_EACH) throw new Error(`${id} sent ${result.completedFiles} files`);
  });
  signal.throwIfAborted();
  if (started.length !== jobs) throw new Error(`${started.length} of ${jobs} jobs were started`);
}

interface Figures {
  jobs: number;
  intervalSeconds: number;
  watchedSeconds: number;
  checks: number;
  /** Checks that there should have been. */
  due: number;
  /** Seconds from when the schedule was due until the check began, and until it had ended. */
  startLag: { median: number; p99: number; max: number };
  endLag: { median: number; p99: number; max: number };
  notCompleted: number;
  /** Cores, of the machine's. */
  cpu: Record<string, number>;
  trends: Record<string, Trend>;
}

async function watch(scene: Scene, jobs: number): Promise<Figures> {
  const pids = {
    temporal: scene.pidOf('temporal'),
    worker: scene.pidOf('worker'),
  };
  const from = new Date();
  const used = cpuMeter(pids);
  const sampler = new Sampler({ temporal: () => pids.temporal, worker: () => pids.worker });
  scene.log(`watching for ${WATCHED} intervals`);
  await sleep(WATCHED * INTERVAL_S * 1000, undefined, { signal: scene.signal });
  const to = new Date();
  const watchedSeconds = (to.getTime() - from.getTime()) / 1000;
  const cpu = Object.fromEntries(
    Object.entries(used()).map(([name, seconds]) => [name, seconds / watchedSeconds]),
  );
  const trends = sampler.stop();
  // Checks that began just before the end are given time to end, and to be listed.
  await sleep(10_000, undefined, { signal: scene.signal });
  const checks = await checksBetween(scene, from, to);
  const ended = checks.flatMap(({ endLag }) => (endLag === undefined ? [] : [endLag]));
  return {
    ...{ jobs, watchedSeconds, cpu, trends, intervalSeconds: INTERVAL_S },
    checks: checks.length,
    due: jobs * WATCHED,
    startLag: spreadOf(checks.map(({ startLag }) => startLag)),
    endLag: spreadOf(ended),
    notCompleted: checks.filter(({ completed }) => !completed).length,
  };
}

interface Check {
  startLag: number;
  endLag: number | undefined;
  completed: boolean;
}

async function checksBetween({ temporal }: Scene, from: Date, to: Date): Promise<Check[]> {
  const when = `StartTime >= '${from.toISOString()}' AND StartTime < '${to.toISOString()}'`;
  const checks: Check[] = [];
  const query = `WorkflowType = '${MONITOR_WORKFLOW}' AND ${when}`;
  for await (const { startTime, closeTime, status, searchAttributes } of temporal.workflow.list({ query })) {
    const [due] = (searchAttributes['TemporalScheduledStartTime'] ?? []) as Date[];
    if (due === undefined) continue;
    checks.push({
      startLag: (startTime.getTime() - due.getTime()) / 1000,
      endLag: closeTime === undefined ? undefined : (closeTime.getTime() - due.getTime()) / 1000,
      completed: status.name === 'COMPLETED',
    });
  }
  return checks;
}

function spreadOf(values: readonly number[]): Figures['startLag'] {
  const sorted = [...values].sort((a, b) => a - b);
  const p99 = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? NaN;
  return { median: median(values), p99, max: sorted.at(-1) ?? NaN };
}

function linesOf(figures: Figures): string[] {
  const { jobs, intervalSeconds, checks, due, startLag, endLag, cpu } = figures;
  const spread = ({ median: middle, p99, max }: Figures['startLag']): string =>
    `median ${middle.toFixed(2)} s, p99 ${p99.toFixed(2)}, at most ${max.toFixed(2)}`;
  return [
    '',
    `${jobs} monitored jobs at ${intervalSeconds} s: ${checks} checks of ${due} that were due, ${figures.notCompleted} not completed`,
    `from due to begun: ${spread(startLag)}`,
    `from due to ended: ${spread(endLag)}`,
    `CPU in cores: ${Object.entries(cpu)
      .map(([name, cores]) => `${name} ${cores.toFixed(2)}`)
      .join(', ')}`,
    ...Object.entries(figures.trends).map(([name, trend]) => trendLine(name, trend)),
    '',
  ];
}
