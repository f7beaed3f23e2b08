/** The workflow of jobs where time matters, on the server that skips it. */
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jobWorkflowId } from '../../src/core/ids.js';
import { jobStatusQuery } from '../../src/core/jobs.js';
import { pauseSignal } from '../../src/core/uploads.js';
import { JobBench } from '../helpers/job-bench.js';
import { startTimeSkipping, type TimeSkipping } from '../helpers/time-skipping.js';
import { failing, failureOf } from '../helpers/upload-bench.js';
import { eventually } from '../helpers/wait.js';

let env: TimeSkipping;

beforeAll(async () => {
  env = await startTimeSkipping();
});
afterAll(() => env.teardown());

/** This server knows no answer when something is cancelled that ends at that moment, so little goes on side by side. */
const lanes = (batchesAtOnce: number) => ({ batchesAtOnce, largeAtOnce: 0 });

describe('uploadJob in time', () => {
  it('does not stay paused for ever', async () => {
    const bench = new JobBench(env);
    bench.activities.openJob = async () => {
      const handle = env.client.workflow.getHandle(jobWorkflowId(bench.id));
      await handle.signal(pauseSignal);
      await eventually(async () => (await handle.query(jobStatusQuery)).state === 'PAUSED');
      return { ...bench.planned(), ...lanes(0) };
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'ParkedTooLong' });
    });
    expect(bench.ends).toMatchObject([{ state: 'FAILED', failure: { code: 'ParkedTooLong' } }]);
  });

  it('waits for a catalog that is away, and gives up an S3 server that is away for days', async () => {
    const bench = new JobBench(env);
    let away = 20;
    bench.activities.openJob = () =>
      away-- > 0 ? failing('CatalogUnavailable') : Promise.resolve({ ...bench.planned(), ...lanes(1) });
    // As rarely as a retry comes at most, and not every minute: the server that skips time takes its own for each.
    bench.activities.uploadFiles = () =>
      Promise.reject(
        ApplicationFailure.create({ type: 'S3Unavailable', message: 'away', nextRetryDelay: '10 hours' }),
      );
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'S3Unavailable' });
    });
    expect(away).toBeLessThan(0);
    expect(bench.ends).toMatchObject([{ state: 'FAILED', failure: { code: 'S3Unavailable' } }]);
  });
});
