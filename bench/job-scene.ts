/** A stack of its own for the benches of jobs: Temporal, S3, PostgreSQL and a worker, in a temporary folder. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { demoEnvironment, makeFolder, removeFolder } from '../scripts/demo/machine.js';
import { LongshoreClient } from '../src/client/longshore-client.js';
import { startStack, type PartName, type Stack } from '../src/dev/stack.js';
import { createPool, type Pool } from '../src/infra/catalog/pool.js';
import { migrateAt } from '../src/infra/catalog/migrations.js';
import { loadConfig, type Config } from '../src/infra/config.js';

export type Log = (line: string) => void;

export interface Scene {
  folder: string;
  dataDir: string;
  cli: string;
  /** Of the stack's programs and of the command line; settings for other servers left out. */
  env: NodeJS.ProcessEnv;
  stack: Stack;
  config: Config;
  client: LongshoreClient;
  /** Of the same connection. */
  temporal: Client;
  db: Pool;
  signal: AbortSignal;
  log: Log;
  /** Process id of a part that runs. */
  pidOf(name: PartName): number;
}

export interface SceneOptions {
  /** Bytes that are to be on disk at once, sources and objects together; decides where the folder is made. */
  room: number;
  /** More for the environment of the worker and of commands, such as another S3 server. */
  env?: Record<string, string>;
  signal: AbortSignal;
  log: Log;
}

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const RESULTS = fileURLToPath(new URL('results', import.meta.url));

export async function withScene<T>(options: SceneOptions, body: (scene: Scene) => Promise<T>): Promise<T> {
  const { signal, log } = options;
  const folder = await makeFolder(options.room);
  let stack: Stack | undefined;
  try {
    const env = { ...demoEnvironment(process.env), ...options.env };
    const dataDir = join(folder, 'stack');
    await mkdir(dataDir, { mode: 0o711 });
    log('starting Temporal, S3, PostgreSQL and a worker');
    stack = await startStack({
      ...{ dataDir, env, log, signal },
      cliEntry: CLI,
      worker: false,
      migrate: migrateAt,
    });
    // Launched without the loader of sources that this process has.
    process.execArgv = [];
    await stack.start('worker');
    const config = loadConfig({ flags: { dataDir }, env });
    const client = await LongshoreClient.connect(config.temporal);
    const { connection } = client;
    const temporal = new Client({ connection, namespace: config.temporal.namespace });
    const db = createPool(stack.state.postgres.url, { max: 4, applicationName: 'bench' });
    try {
      return await body({
        ...{ folder, dataDir, env, stack, config, client, temporal, db, signal, log },
        cli: CLI,
        pidOf,
      });
    } finally {
      await db.end();
      await client.close();
    }
  } finally {
    log('stopping');
    await stack?.stop();
    await removeFolder(folder);
  }

  function pidOf(name: PartName): number {
    const pid = stack?.parts.get(name)?.pid;
    if (pid === undefined) throw new Error(`${name} does not run`);
    return pid;
  }
}

/** Prints nothing; the JSON has all that was printed, and more. */
export async function keepFigures(scenario: string, figures: object, log: Log): Promise<void> {
  const at = new Date().toISOString();
  const machine = { cpus: cpus().length, model: cpus()[0]?.model, node: process.version };
  await mkdir(RESULTS, { recursive: true });
  const path = join(RESULTS, `job-${scenario}-${at.replaceAll(/[:.]/g, '-')}.json`);
  await writeFile(
    path,
    `${JSON.stringify({ at, scenario, machine, load: loadavg(), ...figures }, undefined, 2)}\n`,
  );
  log(`figures in ${path}`);
}
