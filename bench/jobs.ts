/**
 * `npm run bench:jobs`: folders to one S3 server, by Longshore and by others, and jobs under strain.
 *
 *   npm run bench:jobs -- [SCENARIO …] [--runs 5] [--scale 1] [--only longshore,s5cmd,rclone] [--minutes 20]
 *
 * Scenarios: 20000x16KiB, 2000x64KiB, mixed, rerun, million, soak, monitors; the first four when none is named. See
 * docs/benchmarks.md. Prints figures and writes bench/results/job-<scenario>-<time>.json.
 */
import { parseArgs } from 'node:util';
import { LongshoreError } from '../src/core/errors.js';
import { COMPARISONS, compareJobs } from './job-compare.js';
import { benchMillion } from './job-million.js';
import { benchMonitors } from './job-monitors.js';
import type { Log } from './job-scene.js';
import { benchSoak } from './job-soak.js';
import { JOB_TOOLS, type JobToolName } from './job-tools.js';

process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

export interface BenchOptions {
  runs: number;
  /** 0.01: a hundredth of the files, the jobs, the minutes. */
  scale: number;
  tools: JobToolName[];
  minutes: number;
  signal: AbortSignal;
  log: Log;
}

const STRAINS: Readonly<Record<string, (options: BenchOptions) => Promise<void>>> = {
  million: benchMillion,
  soak: benchSoak,
  monitors: benchMonitors,
};

function readOptions(args: string[]): Omit<BenchOptions, 'signal' | 'log'> & { scenarios: string[] } {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '5' },
      scale: { type: 'string', default: '1' },
      minutes: { type: 'string', default: '20' },
      only: { type: 'string', default: Object.keys(JOB_TOOLS).join(',') },
    },
  });
  const number = (name: 'runs' | 'scale' | 'minutes', least: number): number => {
    const value = Number(values[name]);
    if (Number.isFinite(value) && value >= least) return value;
    throw bad(`--${name} ${values[name]} is not a number of at least ${least}`);
  };
  const known = { ...COMPARISONS, ...STRAINS };
  const scenarios = positionals.length === 0 ? Object.keys(COMPARISONS) : positionals;
  const unknown = scenarios.filter((name) => !Object.hasOwn(known, name));
  if (unknown.length > 0)
    throw bad(`no such scenario: ${unknown.join(', ')}; there are ${Object.keys(known).join(', ')}`);
  const tools = values.only.split(',').map((name) => name.trim());
  if (!tools.every((name): name is JobToolName => Object.hasOwn(JOB_TOOLS, name)))
    throw bad(`--only takes some of ${Object.keys(JOB_TOOLS).join(', ')}`);
  const runs = Math.round(number('runs', 1));
  return { scenarios, tools, runs, scale: number('scale', 0.0001), minutes: number('minutes', 0.5) };
}

function bad(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'bench' });
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
    const { scenarios, ...read } = readOptions(process.argv.slice(2));
    const options = { ...read, signal: stopping.signal, log };
    for (const name of scenarios) {
      await (STRAINS[name]?.(options) ?? compareJobs(name, options));
    }
    return 0;
  } catch (caught) {
    const error: unknown = stopping.signal.aborted ? stopping.signal.reason : caught;
    console.error(error instanceof LongshoreError ? `error: ${error.message}\nhint: ${error.hint}` : error);
    return 1;
  }
}

process.exit(await main());
