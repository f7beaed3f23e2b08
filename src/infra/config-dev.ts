/** Where the data folder is, and what the embedded stack wrote into it. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { DEV_STATE_FILE, DevStateSchema } from './dev-state.js';
import { invalid } from './config-settings.js';
import type { Settings } from './config-settings.js';

export const DATA_DIR = '.longshore';

/** Its parts may be missing: an older or newer Longshore wrote it. */
const Schema = DevStateSchema.partial();
export type DevState = z.infer<typeof Schema>;

/** Absolute. Asked for by flag or environment, or the nearest `.longshore` from `cwd` upwards, or the one to be in `cwd`. */
export function findDataDir(asked: string | undefined, cwd: string, settings: Settings): string {
  if (asked !== undefined) return resolve(cwd, asked);
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    const candidate = join(folder, DATA_DIR);
    if (isOurFolder(candidate, settings)) return candidate;
    if (dirname(folder) === folder) return join(resolve(cwd), DATA_DIR);
  }
}

/** A folder that another user left in a shared parent must not tell us where to send bytes. */
function isOurFolder(path: string, settings: Settings): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) return false;
  if (process.getuid === undefined || found.uid === process.getuid()) return true;
  settings.warnings.push(
    `${path} belongs to another user and is left alone; --data-dir names it where that is meant`,
  );
  return false;
}

/** undefined when there is none. Throws InvalidConfig for one that cannot be read. */
export function readDevState(dataDir: string): DevState | undefined {
  const path = join(dataDir, DEV_STATE_FILE);
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw invalid(path, `${path} cannot be read (${code ?? 'unknown'})`, error);
  }
  try {
    return Schema.parse(JSON.parse(content));
  } catch (error) {
    // The parser's own message quotes the text, and that holds keys.
    const where =
      error instanceof z.ZodError ? error.issues.map(({ path: at }) => at.join('.')).join(', ') : 'not JSON';
    throw invalid(path, `${path} is damaged (${where}); stop the stack and start \`longshore dev\` again`);
  }
}
