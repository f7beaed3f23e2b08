/** Processes that tests start are written down, so that the end of the run can see which are left. */
import { appendFileSync, readFileSync } from 'node:fs';
import { isSameProcess, processStart } from '../../src/dev/identity.js';

/** A file, because tests run in processes of their own. Set by the global setup; absent where none ran. */
const VARIABLE = 'LONGSHORE_TEST_REGISTRY';

interface Entry {
  pid: number;
  start: string | undefined;
  label: string;
}

export function registryAt(file: string): void {
  process.env[VARIABLE] = file;
}

export function registerProcess(pid: number, label: string): void {
  const file = process.env[VARIABLE];
  if (file === undefined) return;
  const entry: Entry = { pid, start: processStart(pid), label };
  appendFileSync(file, `${JSON.stringify(entry)}\n`);
}

/** Those of the file that still live. */
export function livingProcesses(file: string): Entry[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines
    .map((line) => JSON.parse(line) as Entry)
    .filter(({ pid, start }) => start !== undefined && isSameProcess(pid, start));
}
