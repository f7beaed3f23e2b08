/** Runs of jobs recorded by `scripts/record-histories.ts`; that they replay is tested with all the others. */
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, it } from 'vitest';
import { JOB_CASES } from '../../scripts/histories/job-cases.js';
import { recorded, replayNamed, silenceReplays } from '../helpers/replay.js';
import { workflowBundle } from '../helpers/temporal.js';

let today: { code: string };

beforeAll(async () => {
  silenceReplays();
  today = await workflowBundle();
});

describe('histories of jobs', () => {
  it('are there for each case', () => {
    const names = [
      ...Object.keys(JOB_CASES).map((name) => `uploadJob-${name}`),
      'monitorJob-idle',
      'monitorJob-changed',
    ];
    expect(recorded()).toEqual(expect.arrayContaining(names));
  });

  it.each([
    ['rows of large files are not settled', `await this.settle(file, outcome);`, '', 'completed'],
    ['what was carried over is not settled', `await this.settle(left, outcome);`, '', 'continued-last'],
    [
      'a cancel is not written down',
      `await this.close(context`,
      `await this.open(context`,
      'cancelled-by-signal',
    ],
    ['it would go on for ever', `historyLength >= maxEvents`, 'false', 'continued-first'],
  ])('catch it when %s', async (_what, original, changed, name) => {
    const code = today.code.replaceAll(original, changed);
    expect(code).not.toBe(today.code);
    expect(await replayNamed(today.code, `uploadJob-${name}`)).toBe('replayed');
    expect(await replayNamed(code, `uploadJob-${name}`)).toBeInstanceOf(DeterminismViolationError);
  });
});
