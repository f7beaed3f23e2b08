/**
 * PostgreSQL refuses to run as root. Started by root, it runs as another user, who must be able to reach the program and
 * the data: a home folder like root's is closed to everyone else, so both move to a folder of the system's then.
 */
import { execFile } from 'node:child_process';
import { chown, cp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createHash, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { LongshoreError } from '../../core/errors.js';

export interface PostgresUser {
  uid: number;
  gid: number;
}

export interface PostgresHome {
  /** Folder of initdb, pg_ctl and postgres. */
  bin: string;
  dataFolder: string;
  /** undefined: the user who runs us. */
  user: PostgresUser | undefined;
}

/** Where a service's files belong that root starts. */
const SYSTEM_FOLDER = '/var/lib/longshore';
/** Machines that have PostgreSQL have the first; every machine has the second. */
const CANDIDATES = ['postgres', 'nobody'];

export interface HomeOptions {
  dataDir: string;
  password: string;
  log: (line: string) => void;
}

export async function postgresHome(bin: string, options: HomeOptions): Promise<PostgresHome> {
  const dataFolder = join(options.dataDir, 'postgres');
  if (process.getuid?.() !== 0) {
    await mkdir(dataFolder, { recursive: true, mode: 0o700 });
    return { bin, dataFolder, user: undefined };
  }
  const user = await unprivilegedUser();
  await mkdir(dirname(dataFolder), { recursive: true });
  const data = await reachableData(dataFolder, user, options);
  await mkdir(data, { recursive: true, mode: 0o700 });
  await chown(data, user.uid, user.gid);
  return { bin: await reachableBin(bin, user, options.log), dataFolder: data, user };
}

async function unprivilegedUser(): Promise<PostgresUser> {
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  for (const name of CANDIDATES) {
    const account = accounts.find((fields) => fields[0] === name);
    if (account !== undefined) return { uid: Number(account[2]), gid: Number(account[3]) };
  }
  throw new LongshoreError(
    'ToolMissing',
    `PostgreSQL does not run as root, and no user ${CANDIDATES.join(' or ')} exists`,
    {
      op: 'start',
      key: 'postgres',
      hint: 'Run as another user, add the user `postgres`, or set DATABASE_URL to a server that runs.',
    },
  );
}

async function reachableData(
  folder: string,
  user: PostgresUser,
  { password, log }: HomeOptions,
): Promise<string> {
  if (await canEnter(dirname(folder), user)) return folder;
  // The password is in the name: a data folder that was deleted and made anew has another, and must not find the old data.
  const name = createHash('sha256').update(`${folder}\0${password}`).digest('hex').slice(0, 16);
  const elsewhere = join(SYSTEM_FOLDER, name, 'postgres');
  log(`postgres: its user cannot reach ${folder}; the data is in ${elsewhere}`);
  await mkdir(dirname(elsewhere), { recursive: true, mode: 0o755 });
  return elsewhere;
}

/** A copy for its user, made once per release of the package. */
async function reachableBin(bin: string, user: PostgresUser, log: (line: string) => void): Promise<string> {
  if (await canEnter(bin, user)) return bin;
  const native = dirname(bin);
  const { size, mtimeMs } = await stat(join(bin, 'postgres'));
  const copy = join(SYSTEM_FOLDER, `postgres-${size}-${Math.floor(mtimeMs)}`);
  if (await canEnter(join(copy, 'bin'), user)) return join(copy, 'bin');
  log(`postgres: its user cannot reach ${bin}; a copy is made in ${copy}`);
  const draft = `${copy}.${randomUUID()}`;
  await mkdir(SYSTEM_FOLDER, { recursive: true, mode: 0o755 });
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  try {
    await rename(draft, copy);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Someone else made it meanwhile; anything that is not it is found by initdb.
    if (!['EEXIST', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
  return join(copy, 'bin');
}

/** Whether the user gets through every folder on the way: only trying it says so. */
async function canEnter(folder: string, user: PostgresUser): Promise<boolean> {
  try {
    await promisify(execFile)('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { ...user, cwd: '/', env: {} });
    return true;
  } catch {
    // The shell has no other reason to fail.
    return false;
  }
}
