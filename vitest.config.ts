import { defineConfig } from 'vitest/config';
import type { TestProjectInlineConfiguration } from 'vitest/config';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const nightly = process.env['LONGSHORE_NIGHTLY'] === '1';

interface Options {
  /** Of one test and of one hook. */
  timeout: number;
  /** One test file at a time: its tests take the machine for themselves. */
  alone?: boolean;
  /** Projects of a later group start when the earlier ones are done. */
  order: number;
}

function project(name: string, { timeout, alone = false, order }: Options): TestProjectInlineConfiguration {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.${nightly ? 'nightly.test' : 'test'}.ts`],
      exclude: nightly ? [] : ['**/*.nightly.test.ts'],
      globalSetup: name === 'unit' ? [] : ['test/helpers/global-setup.ts'],
      testTimeout: nightly ? 60 * MINUTE : timeout,
      hookTimeout: Math.max(timeout, MINUTE),
      pool: 'forks',
      maxWorkers: alone ? 1 : 2,
      sequence: { groupOrder: order },
      // A colour code in a captured line would make a test depend on the terminal. An empty FORCE_COLOR asks Node for colours.
      env: { NO_COLOR: '1', FORCE_COLOR: '0' },
    },
  };
}

export default defineConfig({
  test: {
    // The projects that need nothing come first: a broken unit is reported before any server is used.
    projects: [
      project('unit', { timeout: 30 * SECOND, order: 0 }),
      project('replay', { timeout: MINUTE, order: 0 }),
      project('contract', { timeout: MINUTE, order: 1 }),
      project('workflows', { timeout: 2 * MINUTE, order: 1 }),
      project('integration', { timeout: 2 * MINUTE, order: 1 }),
      project('faults', { timeout: 4 * MINUTE, alone: true, order: 2 }),
      project('e2e', { timeout: 6 * MINUTE, alone: true, order: 3 }),
    ],
  },
});
