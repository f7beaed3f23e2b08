/**
 * Finds a tool of the embedded stack, or gets it. In this order: the path that the environment gives, PATH, the
 * user's cache, the official download, the toolchain that can build it. Two that provision at once do one build.
 */
import { access, constants, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LongshoreError } from '../core/errors.js';
import { describeRecipe, install, messageOf } from './install.js';
import { isLock, tryLock } from './lock.js';
import { run, withProgress } from './run.js';
import { toolFor, toolMissing } from './tools.js';
import type { Tool, ToolName } from './tools.js';

export type { ToolName } from './tools.js';

export interface ProvisionOptions {
  env: NodeJS.ProcessEnv;
  /** One line of progress. Silent when the tool is there. */
  log: (line: string) => void;
  signal?: AbortSignal;
}

const PROOF_TIMEOUT_MS = 20_000;
const LOCK_POLL_MS = 250;

/** Path of the executable. Throws ToolMissing with every way out. */
export async function provision(name: ToolName, options: ProvisionOptions): Promise<string> {
  const tool = toolFor(name);
  const given = options.env[tool.variable];
  if (given !== undefined && given !== '') return await checkGiven(tool, given, options);
  const found = tool.onPath ? await findOnPath(tool, options) : undefined;
  if (found !== undefined) return found;
  const folder = join(cacheFolder(options.env), 'bin', `${tool.name}-${tool.version}`);
  const program = join(folder, tool.name);
  if (await isExecutable(program)) return program;
  await installOnce(tool, folder, options);
  return program;
}

/** `LONGSHORE_CACHE_DIR`, or `longshore` in the user's cache folder. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  const own = env['LONGSHORE_CACHE_DIR'];
  if (own !== undefined && own !== '') return own;
  const xdg = env['XDG_CACHE_HOME'];
  // The specification says that a relative path here is to be ignored.
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(env['HOME'] ?? homedir(), '.cache');
  return join(base, 'longshore');
}

/** A path that a person gave is right or an error: something else in its place would surprise. */
async function checkGiven(tool: Tool, path: string, options: ProvisionOptions): Promise<string> {
  const wrong = await whyNot(tool, path, options);
  if (wrong === undefined) return path;
  throw new LongshoreError('ToolMissing', `${tool.variable}=${path} is not usable: ${wrong}`, {
    op: 'provision',
    key: tool.name,
    hint: `Correct ${tool.variable}, or unset it to have ${tool.name} found or installed.`,
  });
}

async function findOnPath(tool: Tool, options: ProvisionOptions): Promise<string | undefined> {
  for (const folder of (options.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, tool.name);
    if (!isAbsolute(folder) || !(await isExecutable(path))) continue;
    const wrong = await whyNot(tool, path, options);
    if (wrong === undefined) return path;
    options.log(`${path} is passed over: ${wrong}`);
  }
  return undefined;
}

/** undefined when the program runs and is what its name says. */
async function whyNot(
  tool: Tool,
  path: string,
  { env, signal }: ProvisionOptions,
): Promise<string | undefined> {
  if (!(await isExecutable(path))) return 'not an executable file';
  if (tool.proof === undefined) return undefined;
  try {
    const said = await run(path, tool.proof.args, { env, signal, timeoutMs: PROOF_TIMEOUT_MS });
    return tool.proof.says.test(said) ? undefined : `it does not say that it is ${tool.name}`;
  } catch (error) {
    signal?.throwIfAborted();
    return messageOf(error);
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    // Absent and unusable are the same answer here.
    return false;
  }
}

/** One installer at a time on this machine; the others wait for its result, or take over when it dies. */
async function installOnce(tool: Tool, folder: string, options: ProvisionOptions): Promise<void> {
  const program = join(folder, tool.name);
  const lockFile = `${folder}.lock`;
  let said = 0;
  for (;;) {
    const answer = await tryLock(lockFile);
    if (isLock(answer)) {
      try {
        if (!(await isExecutable(program))) await installFirst(tool, folder, options);
        return;
      } finally {
        await answer.release();
      }
    }
    if (performance.now() - said > 2000) {
      options.log(`waiting for process ${answer.pid}, which gets ${tool.name} …`);
      said = performance.now();
    }
    await delay(LOCK_POLL_MS, undefined, options.signal === undefined ? {} : { signal: options.signal });
    if (await isExecutable(program)) return;
  }
}

/** The first recipe that works. */
async function installFirst(tool: Tool, folder: string, options: ProvisionOptions): Promise<void> {
  const parent = dirname(folder);
  await mkdir(parent, { recursive: true });
  await sweepDrafts(tool, parent);
  const tried: string[] = [];
  for (const recipe of tool.recipes) {
    const draft = await mkdtemp(join(parent, draftPrefix(tool)));
    try {
      const context = { tool, folder: draft, env: options.env, signal: options.signal };
      await withProgress(options.log, describeRecipe(tool, recipe), () => install(recipe, context));
      const wrong = await whyNot(tool, join(draft, tool.name), options);
      if (wrong !== undefined) throw new Error(`what it brought does not run: ${wrong}`);
      await publish(draft, folder);
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      const line = `${describeRecipe(tool, recipe)}: ${messageOf(error)}`;
      options.log(line);
      tried.push(line);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  throw toolMissing(tool, folder, tried);
}

/** Whole or not at all: a cache never holds half a tool. */
async function publish(draft: string, folder: string): Promise<void> {
  for (const leftover of ['.archive.tar.gz', '.unpacked', 'pom.xml']) {
    await rm(join(draft, leftover), { recursive: true, force: true });
  }
  await rm(folder, { recursive: true, force: true });
  await rename(draft, folder);
}

function draftPrefix(tool: Tool): string {
  return `.draft-${tool.name}-${tool.version}-`;
}

/** Drafts of installers that were killed; the lock says that none is at work. */
async function sweepDrafts(tool: Tool, parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (name.startsWith(draftPrefix(tool))) await rm(join(parent, name), { recursive: true, force: true });
  }
}
