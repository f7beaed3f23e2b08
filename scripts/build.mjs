#!/usr/bin/env node
/**
 * Builds dist/: the command line and the workflow bundles.
 *
 *   node scripts/build.mjs [--force] [--clean] [--programs-only | --workflows-only | --traced-only]
 *
 * A workflow bundle takes seconds, so it is left alone while the content it was made from is the same. The one that
 * traces is for workers with tracing on, so that the other carries nothing of it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildPrograms } from './build/programs.mjs';

const root = join(import.meta.dirname, '..');
const PARTS = ['programs', 'workflows', 'traced'];

const TRACER = join(root, 'src/workflows/tracing.ts');

/** Builds dist/workflows.js, or dist/workflows-traced.js, unless it is up to date. Says whether it did. */
export async function buildWorkflows({ force = false, traced = false } = {}) {
  const entry = join(root, 'src/workflows/index.ts');
  if (!existsSync(entry)) return false;
  const name = traced ? 'workflows-traced' : 'workflows';
  const bundle = join(root, `dist/${name}.js`);
  const stamp = join(root, `dist/${name}.hash`);
  const hash = await hashOf(['src/workflows', 'src/core', 'package-lock.json', 'scripts/build.mjs']);
  if (!force && existsSync(bundle) && existsSync(stamp) && (await readFile(stamp, 'utf8')) === hash)
    return false;
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const workflowInterceptorModules = traced ? [TRACER] : [];
  const options = { workflowsPath: entry, workflowInterceptorModules, logger: quietLogger() };
  const { code } = await bundleWorkflowCode(options);
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
  const force = args.includes('--force');
  const only = PARTS.find((part) => args.includes(`--${part}-only`));
  const wants = (part) => only === undefined || only === part;
  const programs = wants('programs') ? await buildPrograms({ clean: args.includes('--clean') }) : [];
  const workflows = wants('workflows') && (await buildWorkflows({ force }));
  const traced = wants('traced') && (await buildWorkflows({ force, traced: true }));
  const made = [
    ...programs.map((name) => `dist/${name}.js`),
    ...(workflows ? ['dist/workflows.js'] : []),
    ...(traced ? ['dist/workflows-traced.js'] : []),
  ];
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(made.length === 0 ? 'everything is up to date' : `built ${made.join(', ')} in ${seconds} s`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
