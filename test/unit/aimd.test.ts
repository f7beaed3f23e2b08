import { describe, expect, it } from 'vitest';
import { LongshoreError } from '../../src/core/errors.js';
import type { ErrorCode } from '../../src/core/errors.js';
import { createAdaptiveLimiter } from '../../src/infra/s3/aimd.js';
import { withRetries } from '../../src/infra/s3/retrying.js';

const live = (): AbortSignal => new AbortController().signal;
const failing = (code: ErrorCode) => () =>
  Promise.reject(new LongshoreError(code, code, { op: 'UploadPart' }));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the limiter', () => {
  it('never runs more than its limit, and everything in the end', async () => {
    const limiter = createAdaptiveLimiter({ max: 3 });
    let running = 0;
    let most = 0;
    let done = 0;
    const work = async (): Promise<void> => {
      running += 1;
      most = Math.max(most, running);
      await turn();
      running -= 1;
      done += 1;
    };
    await Promise.all(Array.from({ length: 20 }, () => limiter.run(work, live())));
    expect({ most, done, active: limiter.active, waiting: limiter.waiting }).toEqual({
      most: 3,
      done: 20,
      active: 0,
      waiting: 0,
    });
  });

  it('halves once for failures that come together, and recovers to its maximum', async () => {
    let now = 0;
    const limiter = createAdaptiveLimiter({ max: 16, now: () => now });
    const slow = () => limiter.run(failing('SlowDown'), live()).catch(() => undefined);
    await Promise.all([slow(), slow(), slow()]);
    expect(limiter.limit).toBe(8);
    now = 499;
    await slow();
    expect(limiter.limit).toBe(8);
    now = 500;
    await slow();
    expect(limiter.limit).toBe(4);
    await limiter.run(() => Promise.resolve(), live());
    expect(limiter.limit).toBe(4.25);
    for (let round = 0; round < 200; round += 1) await limiter.run(() => Promise.resolve(), live());
    expect(limiter.limit).toBe(16);
  });

  it('is moved by SlowDown alone, and never below its minimum', async () => {
    let now = 0;
    const limiter = createAdaptiveLimiter({ max: 4, now: () => now });
    await limiter.run(failing('S3Unavailable'), live()).catch(() => undefined);
    expect(limiter.limit).toBe(4);
    for (; now < 10_000; now += 500) await limiter.run(failing('SlowDown'), live()).catch(() => undefined);
    expect(limiter.limit).toBe(1);
  });

  it('lets one who waits leave, with the reason of the signal', async () => {
    const limiter = createAdaptiveLimiter({ max: 1 });
    let release = (): void => undefined;
    const held = limiter.run(() => new Promise<void>((resolve) => (release = resolve)), live());
    const controller = new AbortController();
    let began = false;
    const waiting = limiter.run(() => Promise.resolve((began = true)), controller.signal);
    const after = limiter.run(() => Promise.resolve('after'), live());
    const reason = new Error('gone');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    release();
    await held;
    expect(await after).toBe('after');
    expect(began).toBe(false);
    expect(limiter.active).toBe(0);
  });
});

describe('retries', () => {
  const quick = { baseMs: 1, maxMs: 2 };
  const counting = (code: ErrorCode, failures: number) => {
    const calls = { count: 0 };
    const fn = (): Promise<string> => {
      calls.count += 1;
      return calls.count <= failures ? failing(code)() : Promise.resolve('done');
    };
    return { calls, fn };
  };

  it('goes on while the error is a passing one', async () => {
    const { calls, fn } = counting('S3Unavailable', 4);
    expect(await withRetries(fn, live(), quick)).toBe('done');
    expect(calls.count).toBe(5);
  });

  it('gives up after its tries, and at once for an error that stays', async () => {
    const passing = counting('SlowDown', 9);
    await expect(withRetries(passing.fn, live(), quick)).rejects.toMatchObject({ code: 'SlowDown' });
    expect(passing.calls.count).toBe(5);
    for (const code of ['AccessDenied', 'NoSuchUpload', 'StorageFull'] as const) {
      const { calls, fn } = counting(code, 1);
      await expect(withRetries(fn, live(), quick)).rejects.toMatchObject({ code });
      expect(calls.count).toBe(1);
    }
  });

  it('ends its pause with the signal', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    const { calls, fn } = counting('SlowDown', 9);
    const result = withRetries(fn, controller.signal, { baseMs: 60_000, maxMs: 60_000 });
    await turn();
    controller.abort(reason);
    await expect(result).rejects.toBe(reason);
    expect(calls.count).toBe(1);
  });
});
