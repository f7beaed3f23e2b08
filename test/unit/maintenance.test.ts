/** Whose a multipart upload is. */
import { describe, expect, it } from 'vitest';
import { judge, type Owner } from '../../src/core/maintenance.js';
import { readMaintenance } from '../../src/infra/config-maintenance.js';
import { Settings } from '../../src/infra/config-settings.js';

const at = (time: string): string => `2026-01-01T${time}Z`;
const ms = (time: string): number => Date.parse(at(time));

function owner(
  change: Partial<Omit<Owner, 'begun' | 'current'>> & { begun?: string[]; current?: string[] } = {},
): Owner {
  const { begun = ['ours'], current = [], ...rest } = change;
  return {
    ...{ id: 'upload', ours: true, standing: 'closed', creating: false, mayHaveLost: true },
    ...{ from: ms('10:00:00.500'), until: ms('11:00:00.000') },
    begun: new Set(begun),
    current: new Set(current),
    ...rest,
  };
}

const ours = { s3UploadId: 'ours', initiated: at('10:30:00.000') };
const unheard = { s3UploadId: 'unheard', initiated: at('10:30:00.000') };

describe('a multipart upload that a row names', () => {
  it('goes once its owner has ended, whenever it was begun', () => {
    expect(judge(ours, [owner()])).toEqual({ act: 'abort', why: 'ended', owner: 'upload' });
    const early = { ...ours, initiated: at('09:00:00.000') };
    expect(judge(early, [owner()])).toMatchObject({ act: 'abort' });
  });

  it('stays while its owner works with it, or may', () => {
    const running = { standing: 'running', until: Infinity } as const;
    const keep = { act: 'keep', why: 'running', owner: 'upload' };
    expect(judge(ours, [owner({ ...running, current: ['ours'] })])).toEqual(keep);
    expect(judge(ours, [owner({ ...running, creating: true })])).toEqual(keep);
    expect(judge(ours, [owner({ standing: 'unknown' })])).toEqual({ ...keep, why: 'unknown' });
    expect(judge(ours, [owner(), owner({ ...running, current: ['ours'] })])).toEqual(keep);
  });

  it('goes when its owner, which runs, works with a newer one', () => {
    const newer = owner({ standing: 'running', begun: ['ours', 'newer'], current: ['newer'] });
    expect(judge(ours, [newer])).toMatchObject({ act: 'abort', why: 'superseded' });
  });

  it('is none of ours when another installation names it', () => {
    expect(judge(ours, [owner(), owner({ ours: false })])).toEqual({ act: 'ignore' });
  });
});

describe('a multipart upload that nobody names', () => {
  it('is ours, if it is empty, when one of ours that may have lost an answer was at work as it was begun', () => {
    const lost = { act: 'abort-if-empty', why: 'lost', owner: 'upload' };
    expect(judge(unheard, [owner()])).toEqual(lost);
    expect(judge(unheard, [owner({ id: 'other', mayHaveLost: false }), owner()])).toEqual(lost);
    const running = owner({ standing: 'running', until: Infinity, current: ['ours'] });
    expect(judge(unheard, [running])).toMatchObject({ act: 'abort-if-empty' });
  });

  it.each([
    ['09:59:59.999', 'ignore'],
    ['10:00:00.499', 'ignore'],
    ['10:00:00.500', 'abort-if-empty'],
    // In whole seconds, rounded down.
    ['10:00:00.000', 'abort-if-empty'],
    ['11:00:00.000', 'abort-if-empty'],
    ['11:00:00.001', 'ignore'],
  ])('begun at %s: %s', (time, act) => {
    expect(judge({ ...unheard, initiated: at(time) }, [owner()]).act).toBe(act);
  });

  it('stays when it may be that which an owner is about to hear of, or whose owner nobody knows', () => {
    const creating = owner({ standing: 'running', creating: true });
    expect(judge(unheard, [owner(), creating])).toMatchObject({ act: 'keep', why: 'running' });
    expect(judge(unheard, [owner({ standing: 'unknown' })])).toMatchObject({ act: 'keep', why: 'unknown' });
  });

  it('is a stranger’s where nobody of ours was, or another installation was too', () => {
    expect(judge(unheard, [])).toEqual({ act: 'ignore' });
    expect(judge(unheard, [owner({ mayHaveLost: false })])).toEqual({ act: 'ignore' });
    expect(judge(unheard, [owner(), owner({ ours: false, begun: [] })])).toEqual({ act: 'ignore' });
  });
});

describe('the age from which something is swept', () => {
  const HOUR = 3_600_000;
  const read = (env: Record<string, string>, hours = 24) =>
    readMaintenance(new Settings({}, env), { ms: hours * HOUR, setting: 'LONGSHORE_SESSION_MAX_TTL' });

  it('is two days, once a day, and later than any session may live', () => {
    expect(read({})).toEqual({ sweepIntervalMs: 24 * HOUR, sweepAgeMs: 48 * HOUR });
    expect(read({}, 72)).toMatchObject({ sweepAgeMs: 96 * HOUR });
    expect(read({ LONGSHORE_SWEEP_AGE: '30h', LONGSHORE_SWEEP_INTERVAL: '0' })).toEqual({
      sweepIntervalMs: 0,
      sweepAgeMs: 30 * HOUR,
    });
  });

  it('is refused where it is not', () => {
    expect(() => read({ LONGSHORE_SWEEP_AGE: '24h' })).toThrow(
      /LONGSHORE_SWEEP_AGE is 24 h.*LONGSHORE_SESSION_MAX_TTL/,
    );
    expect(() => read({ LONGSHORE_SWEEP_AGE: 'soon' })).toThrow(/whole seconds/);
  });
});
