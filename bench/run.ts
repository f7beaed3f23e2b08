/**
 * `npm run bench`: one file to one S3 server, by Longshore and by others, in turn.
 *
 *   npm run bench -- [--size 1GiB] [--runs 5] [--only longshore,s5cmd,rclone,lib-storage,activities]
 *
 * Each round runs every tool once, in the same order, after a `sync`; a first round is not counted, and its objects are
 * read back and compared. Prints medians and writes bench/results/<time>.json.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client } from '@temporalio/client';
import { LongshoreError } from '../src/core/errors.js';
import { MiB } from '../src/core/limits.js';
import { run } from '../src/dev/run.js';
import { startStack, UPLOADS_BUCKET, type Stack } from '../src/dev/stack.js';
import { migrateAt } from '../src/infra/catalog/migrations.js';
import { loadConfig, parseSize } from '../src/infra/config.js';
import { createObjectStore } from '../src/infra/s3/index.js';
import type { ObjectStore } from '../src/infra/s3/store.js';
import { connectTemporal } from '../src/infra/temporal/connection.js';
import { demoEnvironment, hashOf, makeFile, makeFolder, removeFolder } from '../scripts/demo/machine.js';
import { summarize, tableOf } from './report.js';
import { createActivitiesOnly } from './tools/activities.js';
import { createLibStorage } from './tools/lib-storage.js';
import { createLongshore, type LongshorePlace } from './tools/longshore.js';
import { createRclone } from './tools/rclone.js';
import { createS5cmd } from './tools/s5cmd.js';
import type { Run, Tool } from './tools/tool.js';

process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const RESULTS = fileURLToPath(new URL('results', import.meta.url));
const S3_SERVER = 'versitygw --keep-alive on a folder';

type Log = (line: string) => void;
type Create = (place: LongshorePlace, log: Log) => Tool | Promise<Tool>;

/** In the order of a round. */
const TOOLS: Readonly<Record<string, Create>> = {
  longshore: createLongshore,
  s5cmd: createS5cmd,
  rclone: createRclone,
  'lib-storage': createLibStorage,
  activities: createActivitiesOnly,
};

interface Options {
  size: number;
  runs: number;
  names: string[];
}

interface Scene {
  options: Options;
  place: LongshorePlace;
  sha256: string;
  store: ObjectStore;
  signal: AbortSignal;
  log: Log;
}

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      size: { type: 'string', default: '1GiB' },
      runs: { type: 'string', default: '5' },
      only: { type: 'string', default: Object.keys(TOOLS).join(',') },
    },
  });
  const bad = (message: string): LongshoreError =>
    new LongshoreError('InvalidInput', message, { op: 'bench' });
  const size = parseSize(values.size);
  // Below this, Longshore sends one PutObject, and there is no multipart upload to compare.
  if (size === undefined || size < 32 * MiB)
    throw bad(`--size ${values.size} is not a size of at least 32MiB`);
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw bad(`--runs ${values.runs} is not a number of rounds`);
  const names = values.only.split(',').map((name) => name.trim());
  const unknown = names.filter((name) => !Object.hasOwn(TOOLS, name));
  if (unknown.length > 0)
    throw bad(`no such tool: ${unknown.join(', ')}; there are ${Object.keys(TOOLS).join(', ')}`);
  return { size, runs, names };
}

async function bench(options: Options, log: Log, signal: AbortSignal): Promise<void> {
  const folder = await makeFolder(options.size);
  let stack: Stack | undefined;
  try {
    const env = demoEnvironment(process.env);
    log('starting Temporal, S3, PostgreSQL and a worker');
    const common = { dataDir: join(folder, 'stack'), cliEntry: CLI, env, log, signal, migrate: migrateAt };
    await mkdir(common.dataDir, { mode: 0o711 });
    stack = await startStack({ ...common, worker: false });
    // Launched without the loader of sources that this process has.
    process.execArgv = [];
    const { pid } = await stack.start('worker');
    log(`making a file of ${options.size / MiB} MiB`);
    const { path: file, sha256 } = await makeFile(folder, options.size, signal);
    const config = loadConfig({ flags: { dataDir: common.dataDir }, env });
    const connection = await connectTemporal(config.temporal);
    const store = createObjectStore(config.s3);
    try {
      const temporal = new Client({ connection, namespace: config.temporal.namespace });
      const { s3 } = stack.state;
      const where = { file, size: options.size, folder, env, s3 };
      const place = { ...where, cli: CLI, dataDir: common.dataDir, workerPid: pid, temporal };
      await compare({ options, place, sha256, store, signal, log });
    } finally {
      store.close();
      await connection.close();
    }
  } finally {
    log('stopping');
    await stack?.stop();
    await removeFolder(folder);
  }
}

async function compare(scene: Scene): Promise<void> {
  const { options, log, signal } = scene;
  const load = loadavg();
  const tools = await createTools(scene);
  const all = tools.map((tool) => ({ tool, runs: [] as Run[] }));
  for (let round = 0; round <= options.runs; round++) {
    for (const { tool, runs } of all) {
      signal.throwIfAborted();
      const key = `bench/${tool.name.replaceAll(' ', '-')}-${round}`;
      const run = await once(scene, tool, key, round === 0);
      log(
        `round ${round === 0 ? '– (not counted)' : round}: ${tool.name} ${(run.wallMs / 1000).toFixed(2)} s`,
      );
      if (round > 0) runs.push(run);
    }
  }
  const summaries = summarize(all);
  const machine = { cpus: cpus().length, model: cpus()[0]?.model, node: process.version };
  const title = `${options.size / MiB} MiB, medians of ${options.runs} alternating runs, ${S3_SERVER}, ${machine.cpus} CPUs`;
  console.log(['', title, '', ...tableOf(summaries), ''].join('\n'));
  const at = new Date().toISOString();
  const figures = { at, size: options.size, s3: S3_SERVER, machine, load, summaries, series: all };
  await mkdir(RESULTS, { recursive: true });
  const path = join(RESULTS, `${at.replaceAll(/[:.]/g, '-')}.json`);
  await writeFile(path, `${JSON.stringify(figures, undefined, 2)}\n`);
  log(`figures in ${path}`);
}

/** A tool that cannot be had leaves its row out, and says so. */
async function createTools({ options, place, log }: Scene): Promise<Tool[]> {
  const tools: Tool[] = [];
  for (const name of options.names) {
    try {
      tools.push(await (TOOLS[name] as Create)(place, log));
    } catch (error) {
      log(`${name} is left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (tools.length === 0)
    throw new LongshoreError('ToolMissing', 'none of the tools could be had', { op: 'bench' });
  return tools;
}

async function once(
  { place, store, sha256, signal }: Scene,
  tool: Tool,
  key: string,
  compareBytes: boolean,
): Promise<Run> {
  // What earlier runs left to be written would be written during this one.
  await run('sync', [], { env: place.env });
  const target = { bucket: UPLOADS_BUCKET, key };
  const figures = await tool.put(target);
  const head = await store.headObject(target, signal);
  if (head?.size !== place.size)
    throw new Error(`${tool.name} left ${head?.size ?? 'nothing'} at ${key}, not ${place.size} bytes`);
  if (compareBytes && (await hashOf(await store.getObject(target, signal))) !== sha256)
    throw new Error(`${tool.name} left other bytes at ${key} than it was given`);
  await store.deleteObject(target, signal);
  return figures;
}

async function main(): Promise<number> {
  const stopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () =>
      stopping.abort(new LongshoreError('Cancelled', `stopped by ${name}`, { op: 'bench' })),
    );
  }
  const log: Log = (line) => console.error(line);
  try {
    await bench(readOptions(process.argv.slice(2)), log, stopping.signal);
    return 0;
  } catch (caught) {
    const error: unknown = stopping.signal.aborted ? stopping.signal.reason : caught;
    console.error(error instanceof LongshoreError ? `error: ${error.message}\nhint: ${error.hint}` : error);
    return 1;
  }
}

process.exit(await main());
