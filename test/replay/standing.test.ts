/** Runs of the sweep and of the relay; that they replay is tested with all the others. */
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, it } from 'vitest';
import { STANDING_CASES } from '../../scripts/histories/standing-cases.js';
import { recorded, replayNamed, silenceReplays } from '../helpers/replay.js';
import { workflowBundle } from '../helpers/temporal.js';

let today: { code: string };

beforeAll(async () => {
  silenceReplays();
  today = await workflowBundle();
});

describe('histories of sweeps and relays', () => {
  it('are there for each case', () => {
    expect(recorded()).toEqual(expect.arrayContaining(Object.keys(STANDING_CASES)));
  });

  it.each([
    [
      'silent jobs are not looked at',
      `if (state.stage === 'jobs')`,
      'if (false)',
      'sweepAbandonedUploads-completed',
    ],
    [
      'a dry run removes what expired',
      'input.dryRun ? NOTHING',
      'false ? NOTHING',
      'sweepAbandonedUploads-dry-run-of-a-bucket',
    ],
    [
      'a sweep never goes on as another run',
      `this.taken < this.input.steps`,
      'true',
      'sweepAbandonedUploads-continued',
    ],
    ['a day has other goes', `const GOES = 144`, 'const GOES = 100', 'relayEvents-continued'],
    ['a relay that nobody knows goes on', `if (strange >= MOST_UNKNOWN) return;`, '', 'relayEvents-over'],
  ])('catch it when %s', async (_what, original, changed, name) => {
    const code = today.code.replaceAll(original, changed);
    expect(code).not.toBe(today.code);
    expect(await replayNamed(today.code, name)).toBe('replayed');
    expect(await replayNamed(code, name)).toBeInstanceOf(DeterminismViolationError);
  });
});
