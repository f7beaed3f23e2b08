/**
 * A million files of 16 bytes to a server that keeps none of them, through two kills: of the worker, and of Temporal. At
 * the end every key was written, and none twice but those that were on their way at a kill.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../src/core/errors.js';
import { jobWorkflowId } from '../src/core/ids.js';
import { KiB } from '../src/core/limits.js';
import { UPLOADS_BUCKET, type PartName } from '../src/dev/stack.js';
import { getJob, type JobRow } from '../src/infra/catalog/jobs.js';
import { forkCountingSink, type CountingSinkProcess } from '../test/helpers/counting-sink-process.js';
import type { SinkCounts } from '../test/helpers/counting-sink.js';
import { KeyTally } from '../test/helpers/key-tally.js';
import { makeTiny, tinyNames } from './job-files.js';
import { runMeasured } from './measure.js';
import { keepFigures, withScene, type Scene } from './job-scene.js';
import { Sampler, trendLine, type Trend } from './job-sampling.js';
import type { BenchOptions } from './jobs.js';

const FILES = 1_000_000;
const ID = 'million';
const PREFIX = 'million';
const POLL_MS = 500;
/** What is behind each share of the files that has arrived. */
const KILLS: readonly { at: number; part: PartName }[] = [
  { at: 1 / 3, part: 'worker' },
  { at: 2 / 3, part: 'temporal' },
];

export async function benchMillion({ scale, signal, log }: BenchOptions): Promise<void> {
  const files = Math.max(1000, Math.round(FILES * scale));
  const sink = await forkCountingSink(files);
  try {
    const env = {
      AWS_ENDPOINT_URL: sink.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'bench',
      AWS_SECRET_ACCESS_KEY: 'bench-keys-are-not-looked-at',
    };
    await withScene({ room: files * 2 * KiB, env, signal, log }, async (scene) => {
      const folder = join(scene.folder, 'million');
      log(`making ${files} files of 16 bytes`);
      await makeTiny(folder, files, signal);
      const figures = await send(scene, sink, folder, files);
      for (const line of linesOf(figures)) console.log(line);
      await keepFigures('million', { scale, ...figures }, log);
      const wrong = faultsOf(figures);
      if (wrong.length > 0) throw new LongshoreError('Internal', wrong.join('; '), { op: 'bench' });
    });
  } finally {
    await sink.close();
  }
}

interface Kill {
  part: PartName;
  /** Seconds since the start. */
  at: number;
  /** Keys that had arrived. */
  arrived: number;
  /** Seconds until another key arrived. */
  stood: number;
}

interface Figures {
  files: number;
  seconds: number;
  filesPerSecond: number;
  firstObjectSeconds: number;
  kills: Kill[];
  counts: SinkCounts;
  expectedDigest: string;
  /** Writes of keys that were there already: what was on its way at a kill. */
  sentTwice: number;
  maxHistoryEvents: number;
  runs: number;
  row: Pick<JobRow, 'state' | 'counts'>;
  trends: Record<string, Trend>;
  /** Keys arrived by second, every ten seconds. */
  progress: { at: number; arrived: number }[];
  rss: Record<string, { at: number; mib: number }[]>;
}

async function send(
  scene: Scene,
  sink: CountingSinkProcess,
  folder: string,
  files: number,
): Promise<Figures> {
  const sampler = new Sampler({
    worker: () => scene.stack.parts.get('worker')?.pid,
    temporal: () => scene.stack.parts.get('temporal')?.pid,
  });
  const args = ['upload', '--json', '--detach', '--id', ID, '--data-dir', scene.dataDir];
  const target = `s3://${UPLOADS_BUCKET}/${PREFIX}`;
  const { startedAt } = await runMeasured(process.execPath, [scene.cli, ...args, folder, target], scene.env);
  const watch = new Watch(scene, sink, files, startedAt);
  const row = await watch.untilEnd();
  const seconds = (Date.now() - startedAt) / 1000;
  const counts = await sink.counts();
  const { most, runs } = await histories(scene);
  const trends = sampler.stop();
  return {
    ...{ files, seconds, filesPerSecond: files / seconds, counts, trends, runs, maxHistoryEvents: most },
    firstObjectSeconds: (counts.firstAt - startedAt) / 1000,
    kills: watch.kills,
    expectedDigest: digestOf(files),
    sentTwice: counts.puts - counts.distinct,
    row: { state: row.state, counts: row.counts },
    progress: watch.progress,
    rss: Object.fromEntries(
      [...sampler.series].map(([name, samples]) => [
        name,
        samples
          .filter((_, index) => index % 10 === 0)
          .map(({ at, rssBytes }) => ({ at, mib: rssBytes / KiB / KiB })),
      ]),
    ),
  };
}

/** Follows what arrives, and kills at its marks. */
class Watch {
  readonly kills: Kill[] = [];
  readonly progress: { at: number; arrived: number }[] = [];
  private told = 0;

  constructor(
    private readonly scene: Scene,
    private readonly sink: CountingSinkProcess,
    private readonly files: number,
    private readonly startedAt: number,
  ) {}

  async untilEnd(): Promise<JobRow> {
    for (;;) {
      this.scene.signal.throwIfAborted();
      const { distinct } = await this.sink.counts();
      this.note(distinct);
      const due = KILLS[this.kills.length];
      if (due !== undefined && distinct >= due.at * this.files) await this.kill(due.part, distinct);
      const row = await getJob(this.scene.db, ID);
      if (row !== undefined && ['COMPLETED', 'FAILED', 'CANCELLED'].includes(row.state)) return row;
      await sleep(POLL_MS, undefined, { signal: this.scene.signal });
    }
  }

  private note(arrived: number): void {
    const at = this.elapsed();
    if (at - this.told < 10) return;
    this.told = at;
    this.progress.push({ at, arrived });
    this.scene.log(`${at.toFixed(0)} s: ${arrived} objects, ${(arrived / at).toFixed(0)} a second`);
  }

  private async kill(part: PartName, arrived: number): Promise<void> {
    const { stack, log, signal } = this.scene;
    const at = this.elapsed();
    log(`${at.toFixed(0)} s: kill -9 of the ${part} with ${arrived} objects there`);
    const killed = stack.parts.get(part);
    killed?.kill();
    await killed?.exited;
    const { puts } = await this.sink.counts();
    await stack.start(part);
    while ((await this.sink.counts()).puts === puts) await sleep(100, undefined, { signal });
    const stood = this.elapsed() - at;
    log(`the next object came ${stood.toFixed(1)} s after`);
    this.kills.push({ part, at, arrived, stood });
  }

  private elapsed(): number {
    return (Date.now() - this.startedAt) / 1000;
  }
}

/** Of all runs of the job's workflow: those that continued as new each begin again. */
async function histories({ temporal }: Scene): Promise<{ most: number; runs: number }> {
  let most = 0;
  let runs = 0;
  for await (const run of temporal.workflow.list({ query: `WorkflowId = '${jobWorkflowId(ID)}'` })) {
    const { historyLength } = await temporal.workflow.getHandle(run.workflowId, run.runId).describe();
    most = Math.max(most, historyLength);
    runs += 1;
  }
  return { most, runs };
}

function digestOf(files: number): string {
  const tally = new KeyTally(files);
  for (const name of tinyNames(files)) tally.add(`${UPLOADS_BUCKET}/${PREFIX}/${name}`);
  return tally.digest;
}

function faultsOf({ files, counts, expectedDigest, row }: Figures): string[] {
  const faults: string[] = [];
  if (row.state !== 'COMPLETED') faults.push(`the job ended as ${row.state}`);
  if (row.counts?.completedFiles !== files)
    faults.push(`the catalog says ${row.counts?.completedFiles} of ${files} files are there`);
  if (counts.distinct !== files) faults.push(`${counts.distinct} of ${files} keys were written`);
  else if (counts.digest !== expectedDigest) faults.push('other keys were written than the files have');
  return faults;
}

function linesOf(figures: Figures): string[] {
  const { files, seconds, filesPerSecond, counts, kills, trends } = figures;
  return [
    '',
    `${files} files of 16 bytes in ${seconds.toFixed(1)} s: ${filesPerSecond.toFixed(0)} a second, kills included`,
    `first object ${figures.firstObjectSeconds.toFixed(2)} s after the start of the command`,
    `${counts.distinct} keys written, ${figures.sentTwice} of them once more after a kill`,
    ...kills.map(
      ({ part, at, stood }) =>
        `${part} killed after ${at.toFixed(0)} s; nothing came for ${stood.toFixed(1)} s`,
    ),
    `${figures.runs} workflow runs, the longest history has ${figures.maxHistoryEvents} events`,
    ...Object.entries(trends).map(([name, trend]) => trendLine(name, trend)),
    '',
  ];
}
