/** The ways to get a tool: official download, `go install`, Maven. Each fills an empty folder or throws. */
import { chmod, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { createWriteStream } from 'node:fs';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { EnvHttpProxyAgent, request } from 'undici';
import type { Recipe, Tool } from './tools.js';
import { run } from './run.js';

export interface InstallContext {
  tool: Tool;
  /** Empty; the executable is `<folder>/<tool name>` afterwards. */
  folder: string;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
}

/** An unreachable internet must cost little. */
const CONNECT_TIMEOUT_MS = 4000;
const STALL_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 5;

export function describeRecipe(tool: Tool, recipe: Recipe): string {
  switch (recipe.via) {
    case 'download':
      return `download ${tool.name} ${tool.version}`;
    case 'go':
      return `build ${tool.name} with go install ${recipe.module}@${recipe.version} (minutes, once)`;
    case 'maven':
      return `fetch the jars of ${tool.name} ${tool.version} with Maven`;
  }
}

export async function install(recipe: Recipe, context: InstallContext): Promise<void> {
  switch (recipe.via) {
    case 'download':
      return await download(recipe, context);
    case 'go':
      return await goInstall(recipe, context);
    case 'maven':
      return await maven(recipe, context);
  }
}

// ── Official download ────────────────────────────────────────────────────────────────────────────────────────────

async function download(recipe: Recipe & { via: 'download' }, context: InstallContext): Promise<void> {
  const failures: string[] = [];
  for (const url of recipe.urls) {
    try {
      const file = join(context.folder, recipe.archive ? '.archive.tar.gz' : context.tool.name);
      await fetchTo(url, file, context);
      if (recipe.archive) await unpack(file, context);
      await chmod(join(context.folder, context.tool.name), 0o755);
      return;
    } catch (error) {
      context.signal?.throwIfAborted();
      failures.push(`${new URL(url).host}: ${messageOf(error)}`);
    }
  }
  throw new Error(failures.join('; '));
}

async function fetchTo(url: string, file: string, { env, signal }: InstallContext): Promise<void> {
  const agent = new EnvHttpProxyAgent({
    ...proxies(env),
    connect: { timeout: CONNECT_TIMEOUT_MS },
    headersTimeout: STALL_TIMEOUT_MS,
    bodyTimeout: STALL_TIMEOUT_MS,
  });
  try {
    let address = url;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      if (!address.startsWith('https:')) throw new Error(`refuses to leave https for ${address}`);
      const answer = await request(address, { dispatcher: agent, signal: signal ?? null });
      const location = answer.headers.location;
      if (answer.statusCode === 200) return await pipeline(answer.body, createWriteStream(file));
      await answer.body.dump();
      if (answer.statusCode < 300 || answer.statusCode > 399 || typeof location !== 'string') {
        throw new Error(`status ${answer.statusCode}`);
      }
      address = new URL(location, address).href;
    }
    throw new Error('too many redirects');
  } finally {
    await agent.destroy();
  }
}

function proxies(env: NodeJS.ProcessEnv): { httpProxy?: string; httpsProxy?: string; noProxy?: string } {
  const httpProxy = env['http_proxy'] ?? env['HTTP_PROXY'];
  const httpsProxy = env['https_proxy'] ?? env['HTTPS_PROXY'];
  const noProxy = env['no_proxy'] ?? env['NO_PROXY'];
  return {
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(httpsProxy === undefined ? {} : { httpsProxy }),
    ...(noProxy === undefined ? {} : { noProxy }),
  };
}

/** Archives hold the program at their root or one folder down. */
async function unpack(archive: string, { tool, folder, env, signal }: InstallContext): Promise<void> {
  const inside = join(folder, '.unpacked');
  await mkdir(inside);
  await run('tar', ['-xzf', archive, '-C', inside], { env, signal });
  const entries = await readdir(inside, { recursive: true, withFileTypes: true });
  const program = entries.find((entry) => entry.isFile() && entry.name === tool.name);
  if (program === undefined) throw new Error(`the archive ${basename(archive)} holds no ${tool.name}`);
  await rename(join(program.parentPath, program.name), join(folder, tool.name));
}

// ── Toolchains ───────────────────────────────────────────────────────────────────────────────────────────────────

async function goInstall(
  recipe: Recipe & { via: 'go' },
  { folder, env, signal }: InstallContext,
): Promise<void> {
  await run('go', ['install', '-ldflags=-s -w', `${recipe.module}@${recipe.version}`], {
    cwd: folder,
    env: { ...env, GOBIN: folder },
    signal,
  });
}

async function maven(recipe: Recipe & { via: 'maven' }, context: InstallContext): Promise<void> {
  const { tool, folder, env, signal } = context;
  const [group, artifact, version] = recipe.coordinates;
  await run('java', ['-version'], { env, signal });
  const pom = join(folder, 'pom.xml');
  await writeFile(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>longshore</groupId><artifactId>${artifact}-jars</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency></dependencies>
</project>
`,
  );
  const jars = join(folder, 'jars');
  await run('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${jars}`], {
    cwd: folder,
    env,
    signal,
  });
  const program = join(folder, tool.name);
  const main = recipe.main === undefined ? '' : ` ${recipe.main}`;
  await writeFile(program, `#!/bin/sh\nexec java -cp "$(dirname "$0")/jars/*"${main} "$@"\n`);
  await chmod(program, 0o755);
}

export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ((error as NodeJS.ErrnoException).code === 'ENOENT' && 'path' in error)
    return `${String(error.path)} is not on PATH`;
  return error.message || (error as NodeJS.ErrnoException).code || error.name;
}
