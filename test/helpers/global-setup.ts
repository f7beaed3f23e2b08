/**
 * Runs once for each project that has files in this run, in the process of the test runner. All projects share one
 * stack; the last that ends stops it and looks for what was left behind.
 */
import { execFile } from 'node:child_process';
import { appendFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import type { PartName, Stack } from './stack.js';
import { say, TestStack } from './test-stack.js';

/** Projects that run what dist/ holds. */
const BUILDS: Readonly<Record<string, readonly Build[]>> = {
  workflows: ['workflows'],
  replay: ['workflows'],
  integration: ['workflows', 'programs'],
  faults: ['workflows', 'programs'],
  e2e: ['workflows', 'programs'],
};

type Build = keyof Stack['broken'];

const NEEDS: Readonly<Record<string, readonly PartName[]>> = {
  contract: ['versitygw', 'minio', 'postgres'],
  workflows: ['testServer', 'temporal'],
  integration: ['temporal', 'versitygw', 'minio', 'postgres'],
  replay: [],
  faults: ['temporal', 'versitygw', 'postgres'],
  e2e: ['temporal', 'versitygw', 'minio', 'postgres'],
};

interface Shared {
  stack: Promise<TestStack>;
  users: number;
  built: Map<Build, Promise<string | undefined>>;
}

/** Each project loads this module afresh, so what they share is kept outside. */
const KEY = Symbol.for('longshore.test-stack');
const holder = globalThis as { [KEY]?: Shared };

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = (holder[KEY] ??= { stack: TestStack.open(), users: 0, built: new Map() });
  shared.users++;
  const stack = await shared.stack;
  const parts = await stack.with(NEEDS[project.name] ?? []);
  project.provide('stack', { ...parts, broken: await build(shared, BUILDS[project.name] ?? []) });
  return async () => {
    shared.users--;
    if (shared.users > 0) return;
    delete holder[KEY];
    await report(await stack.close());
  };
}

/** Each only when its sources changed, and once a run. A failure is told by the tests that would use it. */
async function build(shared: Shared, wanted: readonly Build[]): Promise<Stack['broken']> {
  const broken: Stack['broken'] = {};
  for (const what of wanted) {
    const begun = shared.built.get(what) ?? runBuild(what);
    shared.built.set(what, begun);
    const reason = await begun;
    if (reason !== undefined) broken[what] = reason;
  }
  return broken;
}

async function runBuild(what: Build): Promise<string | undefined> {
  try {
    await promisify(execFile)(process.execPath, ['scripts/build.mjs', `--${what}-only`]);
    return undefined;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    say(`the build of ${what} failed: ${text.slice(0, 500)}`);
    return text;
  }
}

/** The runner only logs what a teardown throws, so the exit code is set here, and a file tells `scripts/test.mjs`. */
async function report(leaks: readonly string[]): Promise<void> {
  if (leaks.length === 0) return;
  for (const leak of leaks) say(`LEFT BEHIND: ${leak}`);
  process.exitCode = 1;
  const file = process.env['LONGSHORE_LEAK_REPORT'];
  if (file !== undefined) await appendFile(file, leaks.map((leak) => `${leak}\n`).join(''));
}
