#!/usr/bin/env node
/**
 * Builds, gets the real parts, runs the test projects, and ends with one line that counts every suite.
 *
 *   npm test                      every project
 *   npm test -- unit faults       the named ones
 *   npm test -- --nightly         the files *.nightly.test.ts
 *   npm test -- unit --no-build   leaves dist/ as it is
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');
const PROJECTS = ['unit', 'contract', 'workflows', 'integration', 'replay', 'faults', 'e2e'];

const args = process.argv.slice(2);
const names = args.filter((argument) => !argument.startsWith('--'));
const unknown = names.filter((name) => !PROJECTS.includes(name));
if (unknown.length > 0) {
  console.error(`no such project: ${unknown.join(', ')}; there are ${PROJECTS.join(', ')}`);
  process.exit(2);
}
process.exitCode = await main();

async function main() {
  if (!args.includes('--no-build')) {
    const code = await run('scripts/build.mjs', []);
    if (code !== 0) return code;
  }
  const folder = await mkdtemp(join(tmpdir(), 'longshore-report-'));
  try {
    const report = join(folder, 'report.json');
    const leaks = join(folder, 'leaks');
    const code = await runVitest(report, leaks);
    return await conclude(report, leaks, code);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The servers are had by the projects' global setup, which prints its progress. */
async function runVitest(report, leaks) {
  const projects = (names.length === 0 ? PROJECTS : names).flatMap((name) => ['--project', name]);
  // A project that has no nightly file yet is no failure; that nothing ran at all is, below.
  const options = [
    '--passWithNoTests',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ];
  return await run('node_modules/vitest/vitest.mjs', ['run', ...projects, ...options], {
    LONGSHORE_LEAK_REPORT: leaks,
    ...(args.includes('--nightly') ? { LONGSHORE_NIGHTLY: '1' } : {}),
  });
}

async function conclude(report, leakFile, code) {
  const text = await readIfThere(report);
  const results = text === undefined ? [] : JSON.parse(text).testResults;
  const counts = count(results);
  for (const failure of failuresOf(results)) console.log(`failed: ${failure}`);
  const leaks = ((await readIfThere(leakFile)) ?? '').split('\n').filter((line) => line !== '');
  for (const leak of leaks) console.log(`left behind: ${leak}`);
  counts.failed += leaks.length;
  const ran = counts.passed + counts.failed;
  // An error outside any test (a broken setup, an unhandled rejection) shows only in the exit code.
  if (counts.failed === 0 && code !== 0) counts.failed = 1;
  if (ran === 0) console.log('no test ran');
  console.log(
    `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`,
  );
  return counts.failed > 0 || ran === 0 ? 1 : 0;
}

/** A file that could not be loaded has no tests of its own, and counts as one failure. */
function count(results) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of results) {
    for (const { status } of file.assertionResults) {
      if (status === 'passed') counts.passed++;
      else if (status === 'failed') counts.failed++;
      else counts.skipped++;
    }
    const shown = file.assertionResults.some(({ status }) => status === 'failed');
    if (file.status === 'failed' && !shown) counts.failed++;
  }
  return counts;
}

/** What failed, one line each, for who has only the end of the output. */
function failuresOf(results) {
  return results
    .filter(({ status }) => status === 'failed')
    .flatMap(({ name, message, assertionResults }) => {
      const failed = assertionResults.filter(({ status }) => status === 'failed');
      const told = failed.map(({ fullName, failureMessages }) => [fullName, failureMessages.join(' ')]);
      return (told.length > 0 ? told : [['did not load', message]]).map(
        ([test, why]) => `${relative(root, name)}: ${test}: ${why.replace(/\s+/g, ' ').slice(0, 600)}`,
      );
    });
}

async function readIfThere(file) {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Runs one of the repository's programs with this Node; gives its exit code. */
function run(program, programArgs, env = {}) {
  const child = spawn(process.execPath, [join(root, program), ...programArgs], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  // The child has the terminal's Ctrl-C too, and ends in its own order.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal === null ? code : 1));
  });
}
