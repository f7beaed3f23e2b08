/** The uploadObject workflow where time matters, on the server that skips it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { pauseSignal, type UploadReport } from '../../src/core/uploads.js';
import { startTimeSkipping, type TimeSkipping } from '../helpers/time-skipping.js';
import { Bench, failing, failureOf } from '../helpers/upload-bench.js';

let env: TimeSkipping;

beforeAll(async () => {
  env = await startTimeSkipping();
});
afterAll(() => env.teardown());

describe('uploadObject in time', () => {
  it('does not stay paused for ever', async () => {
    const bench = new Bench(env);
    bench.transfer.inspectSource = async () => {
      await env.client.workflow.getHandle(uploadWorkflowId(bench.id)).signal(pauseSignal);
      return bench.inspection();
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'ParkedTooLong' });
    });
  });

  it('waits for the catalog before it creates, and loses nothing while it is away', async () => {
    const bench = new Bench(env);
    let away = 20;
    const report = (one: UploadReport): Promise<void> => {
      if (away-- > 0) return failing('CatalogUnavailable');
      bench.reports.push(one);
      return Promise.resolve();
    };
    Object.assign(bench.transfer, { reportUpload: report });
    await bench.run((handle) => handle.result());
    expect(bench.calls.filter((call) => call === 'createMultipartUpload')).toHaveLength(1);
    expect(bench.states()).toEqual(['PENDING', 'UPLOADING', 'COMPLETED']);
  });

  it('gives up on an S3 server that has been away for days, and says so', async () => {
    const bench = new Bench(env);
    bench.transfer.createMultipartUpload = () => failing('S3Unavailable');
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'S3Unavailable' });
    });
    expect(bench.states().at(-1)).toBe('FAILED');
  });
});
