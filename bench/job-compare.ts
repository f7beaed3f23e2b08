/** The scenarios in which a folder is sent by Longshore and by others, in turn, to one server. */
import { join } from 'node:path';
import { KiB, MiB } from '../src/core/limits.js';
import { run } from '../src/dev/run.js';
import { UPLOADS_BUCKET } from '../src/dev/stack.js';
import { createObjectStore } from '../src/infra/s3/index.js';
import type { ObjectStore } from '../src/infra/s3/store.js';
import { compareBytes, compareSizes, emptyPrefix, type Where } from './job-bucket.js';
import { makeTree, type FileSet, type MadeFolder } from './job-files.js';
import { keepFigures, withScene, type Log, type Scene } from './job-scene.js';
import { createJobTools, type JobRun, type JobTool, type JobToolName } from './job-tools.js';
import { summarize, tableOf } from './report.js';

export interface CompareOptions {
  runs: number;
  /** 0.01: a hundredth of the files. */
  scale: number;
  tools: readonly JobToolName[];
  signal: AbortSignal;
  log: Log;
}

interface Comparison {
  sets: readonly FileSet[];
  /** Everything is there already, and only the look at it counts. */
  again?: boolean;
  tools: readonly JobToolName[];
}

const ALL: readonly JobToolName[] = ['longshore', 's5cmd', 'rclone'];

export const COMPARISONS: Readonly<Record<string, Comparison>> = {
  '20000x16KiB': { sets: [{ count: 20_000, size: 16 * KiB }], tools: ALL },
  '2000x64KiB': { sets: [{ count: 2_000, size: 64 * KiB }], tools: ALL },
  mixed: {
    sets: [
      { count: 16, size: 64 * MiB },
      { count: 5_000, size: 16 * KiB },
    ],
    tools: ALL,
  },
  rerun: { sets: [{ count: 100_000, size: KiB }], again: true, tools: ALL },
};

const SERVER = 'versitygw --keep-alive on a folder';

interface Series {
  tool: JobTool;
  runs: JobRun[];
}

export async function compareJobs(name: string, options: CompareOptions): Promise<void> {
  const comparison = COMPARISONS[name];
  if (comparison === undefined) throw new Error(`no such comparison: ${name}`);
  const { scale, signal, log } = options;
  const sets = comparison.sets.map(({ count, size }) => ({
    size,
    count: Math.max(1, Math.round(count * scale)),
  }));
  const bytes = sets.reduce((sum, { count, size }) => sum + count * Math.max(size, 4 * KiB), 0);
  await withScene({ room: bytes, signal, log }, async (scene) => {
    log(`${name}: making ${sets.map(({ count, size }) => `${count} × ${size / KiB} KiB`).join(' and ')}`);
    const folder = await makeTree(join(scene.folder, 'files'), sets, signal);
    const store = createObjectStore(scene.config.s3);
    try {
      const names = comparison.tools.filter((tool) => options.tools.includes(tool));
      const tools = await createJobTools(names, scene);
      const bench = new Bench(scene, store, folder, options.runs);
      const all = comparison.again === true ? await bench.again(tools) : await bench.fresh(tools);
      const summaries = summarize(all);
      const what = `${name}${scale === 1 ? '' : ` at scale ${scale}`}: ${folder.files} files, ${(folder.bytes / MiB).toFixed(1)} MiB`;
      console.log(
        ['', `${what}, ${options.runs} alternating rounds, ${SERVER}`, '', ...tableOf(summaries), ''].join(
          '\n',
        ),
      );
      const figures = { scale, files: folder.files, bytes: folder.bytes, s3: SERVER, summaries, series: all };
      await keepFigures(name, figures, log);
    } finally {
      store.close();
    }
  });
}

class Bench {
  constructor(
    private readonly scene: Scene,
    private readonly store: ObjectStore,
    private readonly folder: MadeFolder,
    private readonly rounds: number,
  ) {}

  /** Each run to a prefix of its own, which is emptied again. */
  async fresh(tools: readonly JobTool[]): Promise<Series[]> {
    return await this.alternate(tools, async (tool, round) => {
      const where = this.where(`${tool.name}-${round}`);
      const run = await this.measured(() => tool.send(this.folder.path, where.bucket, where.prefix));
      await compareSizes(where, this.folder);
      if (round === 0) await compareBytes(where, this.folder);
      await emptyPrefix(where);
      return run;
    });
  }

  /** All is sent once by each; then it is the same again and again. */
  async again(tools: readonly JobTool[]): Promise<Series[]> {
    for (const tool of tools) {
      this.scene.log(`${tool.name} sends everything once`);
      const where = this.where(tool.name);
      await tool.send(this.folder.path, where.bucket, where.prefix);
      await compareSizes(where, this.folder);
      await compareBytes(where, this.folder);
    }
    return await this.alternate(tools, async (tool) => {
      const where = this.where(tool.name);
      const run = await this.measured(() => tool.again(this.folder.path, where.bucket, where.prefix));
      if ((run.sentFiles ?? 0) > 0)
        throw new Error(`${tool.name} sent ${run.sentFiles} files that had not changed`);
      return run;
    });
  }

  /** Rounds in which each has its turn; the first is not counted. */
  private async alternate(
    tools: readonly JobTool[],
    once: (tool: JobTool, round: number) => Promise<JobRun>,
  ): Promise<Series[]> {
    const all = tools.map((tool): Series => ({ tool, runs: [] }));
    for (let round = 0; round <= this.rounds; round++) {
      for (const { tool, runs } of all) {
        this.scene.signal.throwIfAborted();
        const figures = await once(tool, round);
        const which = round === 0 ? '– (not counted)' : String(round);
        this.scene.log(`round ${which}: ${tool.name} ${(figures.wallMs / 1000).toFixed(2)} s`);
        if (round > 0) runs.push(figures);
      }
    }
    return all;
  }

  /** What earlier runs left to be written would be written during this one. */
  private async measured(step: () => Promise<JobRun>): Promise<JobRun> {
    await run('sync', [], { env: this.scene.env });
    return await step();
  }

  private where(prefix: string): Where {
    return { store: this.store, bucket: UPLOADS_BUCKET, prefix, signal: this.scene.signal };
  }
}
