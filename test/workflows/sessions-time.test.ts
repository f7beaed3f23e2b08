/** Sessions where time matters, on the server that skips it. */
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPLETE_UPDATE, type CompleteAsk, type CompletionAnswer } from '../../src/core/sessions.js';
import { startTimeSkipping, type TimeSkipping } from '../helpers/time-skipping.js';
import { Bench, failureOf, sessionSource, stored } from '../helpers/upload-bench.js';

const DAY = 24 * 3600 * 1000;

let env: TimeSkipping;

beforeAll(async () => {
  env = await startTimeSkipping();
});
afterAll(() => env.teardown());

const complete = (handle: WorkflowHandle): Promise<CompletionAnswer> =>
  handle.executeUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE, { args: [{}] });

function sessionBench(change: Parameters<typeof sessionSource>[0] = {}): Bench {
  const bench = new Bench(env);
  bench.source = sessionSource({ ttlMs: DAY, ...change });
  return bench;
}

describe('a session that nobody comes back to', () => {
  it('expires, and leaves no multipart upload', async () => {
    const bench = sessionBench();
    const aborted: string[] = [];
    let created = '';
    bench.transfer.createMultipartUpload = ({ token }) => {
      created = `mpu-${token.nonce}`;
      return Promise.resolve({ s3UploadId: created, token, before: 'absent' });
    };
    bench.transfer.abortMultipartUpload = ({ s3UploadId }) => {
      aborted.push(s3UploadId);
      return Promise.resolve();
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'SessionExpired' });
    });
    expect(aborted).toEqual([created]);
    expect(bench.states().at(-1)).toBe('EXPIRED');
    expect(bench.reports.at(-1)?.failure).toMatchObject({ code: 'SessionExpired' });
  });

  it('is looked for once more, if it is a whole object', async () => {
    const bench = sessionBench({ mode: 'whole' });
    bench.transfer.lifeLeft = () => {
      bench.transfer.settleObject = ({ token }) => Promise.resolve(stored(7, token));
      return Promise.resolve(0);
    };
    bench.transfer.settleObject = ({ token }) =>
      Promise.resolve(bench.calls.includes('lifeLeft') ? stored(7, token) : null);
    await bench.run(async (handle) => {
      expect(await handle.result()).toMatchObject({ size: 7 });
    });
    // A day of looks is some dozens, not thousands.
    const looks = bench.calls.filter((call) => call === 'settleObject').length;
    expect(looks).toBeGreaterThan(20);
    expect(looks).toBeLessThan(60);
  });
});

describe('a session whose client shows that it lives', () => {
  it('lives on until its client is away for the whole of its time', async () => {
    const bench = sessionBench();
    const left = [DAY / 2, DAY / 4, DAY / 4, 0];
    bench.transfer.lifeLeft = () => Promise.resolve(left.shift() ?? 0);
    await bench.run(async (handle) => {
      const before = Date.parse((await handle.describe()).startTime.toISOString());
      expect(await failureOf(handle)).toMatchObject({ type: 'SessionExpired' });
      const { closeTime } = await handle.describe();
      expect((closeTime?.getTime() ?? 0) - before).toBeGreaterThanOrEqual(2 * DAY);
      expect((closeTime?.getTime() ?? 0) - before).toBeLessThan(2 * DAY + 60_000);
    });
    expect(left).toEqual([]);
  });

  it('has its whole time again after it asked to be complete too early', async () => {
    const bench = sessionBench();
    const missing = { missing: [0], missingCount: 1, surplus: [], message: 'missing: 0' };
    bench.transfer.completeSession = () => Promise.resolve({ incomplete: missing });
    await bench.run(async (handle) => {
      expect(await complete(handle)).toEqual({ incomplete: missing });
      expect(await failureOf(handle)).toMatchObject({ type: 'SessionExpired' });
    });
  });

  it('does not fill its history when its life is a second and it is touched for days', async () => {
    const bench = sessionBench({ ttlMs: 1000 });
    let touches = 0;
    bench.transfer.lifeLeft = () => Promise.resolve(touches++ < 100 ? 900 : 0);
    await bench.run(async (handle) => {
      const before = (await handle.describe()).startTime.getTime();
      expect(await failureOf(handle)).toMatchObject({ type: 'SessionExpired' });
      const { closeTime } = await handle.describe();
      // A hundred looks a second apart would be less than two minutes.
      expect((closeTime?.getTime() ?? 0) - before).toBeGreaterThan(200 * 1000);
    });
  });
});
