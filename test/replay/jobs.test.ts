/** Runs of jobs recorded by `scripts/record-histories.ts`; that they replay is tested with all the others. */
import { readdirSync, readFileSync } from 'node:fs';
import { DeterminismViolationError } from '@temporalio/workflow';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { JOB_CASES } from '../../scripts/histories/job-cases.js';
import { historyFromText } from '../helpers/histories.js';
import { workflowBundle } from '../helpers/temporal.js';

const FOLDER = new URL('histories/', import.meta.url);
let today: { code: string };

beforeAll(async () => {
  // What is to fail below says so aloud.
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) });
  today = await workflowBundle();
});

async function replay(code: string, name: string): Promise<unknown> {
  const history = historyFromText(readFileSync(new URL(`${name}.json`, FOLDER), 'utf8'));
  const workflowId = history.events?.[0]?.workflowExecutionStartedEventAttributes?.workflowId ?? '';
  for await (const { error } of Worker.runReplayHistories({ workflowBundle: { code } }, [
    { workflowId, history },
  ]))
    return error ?? 'replayed';
  throw new Error(`${name} was not replayed`);
}

describe('histories of jobs', () => {
  it('are there for each case', () => {
    const names = [
      ...Object.keys(JOB_CASES).map((name) => `uploadJob-${name}`),
      'monitorJob-idle',
      'monitorJob-changed',
    ];
    expect(readdirSync(FOLDER)).toEqual(expect.arrayContaining(names.map((name) => `${name}.json`)));
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
    expect(await replay(today.code, `uploadJob-${name}`)).toBe('replayed');
    expect(await replay(code, `uploadJob-${name}`)).toBeInstanceOf(DeterminismViolationError);
  });
});
