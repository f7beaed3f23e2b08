/** Debian’s Chromium: where it is, and how it comes there. */
import { run, withProgress } from '../../src/dev/run.js';
import { isProgram } from './programs.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const INSTALL_TIMEOUT_MS = 600_000;
/** Another installer may be at work. */
const LOCK = ['-o', 'DPkg::Lock::Timeout=300'];

/** Path of the program, installed from the distribution when it is nowhere. Throws with the ways out. */
export async function chromiumProgram(log: (line: string) => void): Promise<string> {
  const found = await find();
  if (found !== undefined) return found;
  try {
    await withProgress(log, 'installing chromium', install);
  } catch (error) {
    throw new Error(
      'there is no Chromium, and apt-get could not install it; install it, or name one in LONGSHORE_TEST_CHROMIUM',
      { cause: error },
    );
  }
  const installed = await find();
  if (installed !== undefined) return installed;
  throw new Error(`the package chromium brought none of ${PLACES.join(', ')}`);
}

async function find(): Promise<string | undefined> {
  const asked = process.env['LONGSHORE_TEST_CHROMIUM'];
  for (const path of asked === undefined || asked === '' ? PLACES : [asked]) {
    if (await isProgram(path)) return path;
  }
  if (asked === undefined || asked === '') return undefined;
  throw new Error(`LONGSHORE_TEST_CHROMIUM=${asked} is no program`);
}

async function install(): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, timeoutMs: INSTALL_TIMEOUT_MS };
  await run('apt-get', ['update', '-qq', ...LOCK], options);
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...LOCK, 'chromium'], options);
}
