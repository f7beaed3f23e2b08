/** Runs recorded by `scripts/record-histories.ts` against the workflow code of today. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker, type ReplayWorkerOptions } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { CASES, SESSION_CASES } from '../../scripts/histories/cases.js';
import { historyFromText, withPayloadsDecoded } from '../helpers/histories.js';
import { recorded, silenceReplays } from '../helpers/replay.js';
import { workflowBundle } from '../helpers/temporal.js';

const FOLDER = new URL('histories/', import.meta.url);
const histories = recorded().map((name) => ({
  name,
  text: readFileSync(new URL(`${name}.json`, FOLDER), 'utf8'),
}));

const named = (name: string): string => {
  const text = histories.find((history) => history.name === name)?.text;
  if (text === undefined) throw new Error(`no history ${name}`);
  return text;
};

let today: { code: string };

beforeAll(async () => {
  silenceReplays();
  today = await workflowBundle();
});

/** What the replay of each history ended with, by name. */
async function replay(
  workflows: Pick<ReplayWorkerOptions, 'workflowBundle' | 'workflowsPath'>,
  texts: { name: string; text: string }[],
): Promise<Record<string, unknown>> {
  const outcomes: Record<string, unknown> = {};
  const runs = texts.map(({ name, text }) => {
    const history = historyFromText(text);
    const workflowId = history.events?.[0]?.workflowExecutionStartedEventAttributes?.workflowId;
    return { name, workflowId: workflowId ?? '', history };
  });
  for await (const { workflowId, error } of Worker.runReplayHistories(workflows, runs)) {
    const run = runs.find((each) => each.workflowId === workflowId);
    outcomes[run?.name ?? workflowId] = error ?? 'replayed';
  }
  return outcomes;
}

describe('histories of uploadObject', () => {
  it('are there for each case', () => {
    expect(histories.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        ...Object.keys(CASES).map((name) => `uploadObject-${name}`),
        ...Object.keys(SESSION_CASES).map((name) => `uploadObject-session-${name}`),
      ]),
    );
  });

  it('replay', async () => {
    const outcomes = await replay({ workflowBundle: today }, histories);
    expect(outcomes).toEqual(Object.fromEntries(histories.map(({ name }) => [name, 'replayed'])));
  });

  it.each(histories)('$name says nothing of where it was recorded', ({ text }) => {
    const said = withPayloadsDecoded(text);
    expect(said).not.toMatch(/\d+@|\/home\/|\/root\/|\/tmp\/|node_modules|X-Amz-|localhost|127\.0\.0\.1/);
    for (const [, identity] of said.matchAll(/"identity":"([^"]*)"/g)) expect(identity).toBe('recorder');
    for (const [, trace] of said.matchAll(/"stackTrace":"([^"]*)"/g)) expect(trace).toBe('');
  });
});

describe('a change that running uploads would not survive is caught', () => {
  const violation = expect.any(DeterminismViolationError) as unknown;

  it('in another workflow under the same name', async () => {
    const workflowsPath = fileURLToPath(new URL('incompatible/index.ts', import.meta.url));
    const name = 'uploadObject-completed-put';
    expect(await replay({ workflowsPath }, [{ name, text: named(name) }])).toEqual({ [name]: violation });
  });

  it.each([
    ['the first report is left out', `this.report('PENDING');`, '', 'completed-put'],
    ['verification comes no more', `transfer.verifyObject.`, `transfer.ping.`, 'completed-multipart'],
    ['what is lost is not aborted', `await this.abort();`, '', 'restarted-after-no-such-upload'],
    [
      'a session is begun without being opened',
      `transfer.beginSession.`,
      `transfer.completeSession.`,
      'session-completed',
    ],
    ['a whole one is not opened', `catalog.openSession.`, `catalog.lifeLeft.`, 'session-completed-whole'],
    [
      'what an attempt began is not looked for',
      `await this.find(this.asking);`,
      '',
      'session-cancelled-before-begun',
    ],
    ['a session expires unasked', `await this.prolong();`, '', 'session-expired'],
  ])('when %s', async (_what, original, changed, caught) => {
    const code = today.code.replaceAll(original, changed);
    expect(code).not.toBe(today.code);
    const name = `uploadObject-${caught}`;
    const outcomes = await replay({ workflowBundle: { code } }, [{ name, text: named(name) }]);
    expect(outcomes).toEqual({ [name]: violation });
  });
});
