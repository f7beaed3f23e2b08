/** The uploadObject workflow on its own, on the dev server: what it does with what its activities say. */
import { CancelledFailure } from '@temporalio/activity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadWorkflowId } from '../../src/core/ids.js';
import {
  cancelSignal,
  pauseSignal,
  progressQuery,
  resumeSignal,
  stateQuery,
} from '../../src/core/uploads.js';
import type { CreateInput, WindowInput, WindowResult } from '../../src/core/upload-steps.js';
import { testNamespace, type TestNamespace } from '../helpers/temporal.js';
import {
  Bench,
  benchServer,
  failing,
  failureOf,
  stored,
  until,
  untilStopped,
  windowResult,
  type BenchServer,
  type RunningBenchWorker,
} from '../helpers/upload-bench.js';

let temporal: TestNamespace;
let env: BenchServer;

beforeAll(async () => {
  temporal = await testNamespace();
  env = await benchServer(temporal);
});
afterAll(() => temporal.close());

describe('uploadObject', () => {
  it('inspects, records, creates, sends every window, completes with all ledgers, verifies and records', async () => {
    const bench = new Bench(env);
    let ledgers: string[] = [];
    bench.transfer.completeMultipartUpload = (input) => {
      ledgers = input.ledgers;
      return Promise.resolve(stored(input.size, input.created.token));
    };
    const result = await bench.run((handle) => handle.result());
    expect(ledgers).toEqual(['L1', 'L129', 'L257']);
    expect(result).toMatchObject({
      parts: 300,
      generations: 1,
      verification: 'full',
      checksum: 'crc32:AAAAAA==',
    });
    expect(bench.states()).toEqual(['PENDING', 'UPLOADING', 'COMPLETED']);
    expect(bench.reports.map((report) => report.sequence)).toEqual([1, 2, 3]);
    expect(bench.calls.indexOf('reportUpload')).toBeLessThan(bench.calls.indexOf('createMultipartUpload'));
  });

  it('begins afresh after NoSuchUpload, with a new token and none of the old ledgers', async () => {
    const bench = new Bench(env);
    const creates: CreateInput[] = [];
    const windows: WindowInput[] = [];
    bench.transfer.createMultipartUpload = (input) => {
      creates.push(input);
      return Promise.resolve({ s3UploadId: `mpu-${creates.length}`, token: input.token, before: 'absent' });
    };
    bench.transfer.uploadParts = (input) => {
      windows.push(input);
      const lost = input.created.s3UploadId === 'mpu-1' && input.window.first === 129;
      return lost ? failing('NoSuchUpload') : Promise.resolve(windowResult(input.window));
    };
    const result = await bench.run((handle) => handle.result());
    expect(result.generations).toBe(2);
    expect(creates[1]?.token.nonce).not.toBe(creates[0]?.token.nonce);
    expect(creates[1]?.lost).toEqual({ before: 'absent', completing: false });
    const second = windows.filter((window) => window.created.s3UploadId === 'mpu-2');
    expect(second.map((window) => window.window.first).sort((a, b) => a - b)).toEqual([1, 129, 257]);
    expect(second.every((window) => window.known === undefined)).toBe(true);
  });

  it('gives up after the generations that the inspection grants', async () => {
    const bench = new Bench(env);
    bench.transfer.uploadParts = () => failing('NoSuchUpload');
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'NoSuchUpload' });
    });
    expect(bench.calls.filter((call) => call === 'createMultipartUpload')).toHaveLength(3);
  });

  it.each(['SourceChanged', 'AccessDenied', 'OutcomeUnknown', 'EncryptionNotApplied'] as const)(
    'aborts and fails with %s, and says so in the catalog',
    async (code) => {
      const bench = new Bench(env);
      bench.transfer.uploadParts = () => failing(code);
      await bench.run(async (handle) => {
        expect(await failureOf(handle)).toMatchObject({ type: code, nonRetryable: true });
        expect((await handle.describe()).status.name).toBe('FAILED');
      });
      expect(bench.calls).toContain('abortMultipartUpload');
      expect(bench.reports.at(-1)).toMatchObject({ state: 'FAILED', failure: { code } });
    },
  );

  it('stops the other window when one fails, before it aborts', async () => {
    const bench = new Bench(env);
    let stopped = false;
    bench.transfer.uploadParts = async ({ window }) => {
      if (window.first === 129) return await failing('SourceChanged');
      const result = await untilStopped(windowResult(window, { finished: false }));
      stopped = true;
      return result;
    };
    bench.transfer.abortMultipartUpload = () => {
      expect(stopped).toBe(true);
      return Promise.resolve();
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'SourceChanged' });
    });
  });

  it('pauses: windows return what they have, and go on from there at resume', async () => {
    const bench = new Bench(env);
    bench.parts = 100;
    const known: (WindowResult | undefined)[] = [];
    const half = windowResult({ first: 1, last: 40 }, { finished: false, ledger: 'half' });
    bench.transfer.uploadParts = (input) => {
      known.push(input.known);
      return input.known === undefined ? untilStopped(half) : Promise.resolve(windowResult(input.window));
    };
    await bench.run(async (handle) => {
      await until(() => expect(known).toHaveLength(1));
      await handle.signal(pauseSignal);
      await until(async () => {
        expect(await handle.query(progressQuery)).toMatchObject({ open: { '1': { partsDone: 40 } } });
        expect(await handle.query(stateQuery)).toEqual({ state: 'PAUSED' });
      });
      await handle.signal(resumeSignal);
      await handle.result();
    });
    expect(known).toEqual([undefined, half]);
    expect(bench.states()).toEqual(['PENDING', 'UPLOADING', 'PAUSED', 'UPLOADING', 'COMPLETED']);
  });

  it.each([
    ['a passing failure, which the server retries no more', () => failing('S3Unavailable')],
    ['nothing but the cancel', () => Promise.reject(new CancelledFailure('stopped'))],
  ] as const)('goes on after a pause that a window answered with %s', async (_what, answer) => {
    const bench = new Bench(env);
    bench.parts = 100;
    const again: boolean[] = [];
    bench.transfer.uploadParts = async (input) => {
      again.push(input.again);
      if (again.length > 1) return windowResult(input.window);
      await untilStopped(windowResult(input.window));
      return await answer();
    };
    await bench.run(async (handle) => {
      await until(() => expect(again).toHaveLength(1));
      // At once: the workflow may hear of both before it hears of the window.
      await Promise.all([handle.signal(pauseSignal), handle.signal(pauseSignal)]);
      await handle.signal(resumeSignal);
      await handle.result();
    });
    expect(again).toEqual([false, true]);
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('is CANCELLED, not FAILED, when what it told to stop fails in passing', async () => {
    const bench = new Bench(env);
    bench.transfer.uploadParts = async ({ window }) => {
      await untilStopped(windowResult(window));
      return await failing('S3Unavailable');
    };
    await bench.run(async (handle) => {
      await until(() => expect(bench.calls).toContain('uploadParts'));
      await handle.signal(cancelSignal);
      expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
    });
    expect(bench.states().at(-1)).toBe('CANCELLED');
  });

  it('parks as BLOCKED on what a person can repair, and tries again at resume', async () => {
    const bench = new Bench(env);
    let expired = true;
    bench.transfer.createMultipartUpload = ({ token }) =>
      expired ? failing('ExpiredCredentials') : Promise.resolve({ s3UploadId: 'm', token, before: 'absent' });
    await bench.run(async (handle) => {
      await until(async () => {
        expect(await handle.query(stateQuery)).toMatchObject({
          state: 'BLOCKED',
          failure: { code: 'ExpiredCredentials' },
        });
      });
      expired = false;
      await handle.signal(resumeSignal);
      await handle.result();
    });
    expect(bench.states()).toEqual(['PENDING', 'BLOCKED', 'PENDING', 'UPLOADING', 'COMPLETED']);
  });

  it('is BLOCKED while no worker has its root, and goes on by itself once one is there', async () => {
    const bench = new Bench(env);
    bench.source = { kind: 'file', root: 'elsewhere', path: 'p' };
    let worker: RunningBenchWorker | undefined;
    bench.transfer.reportUpload = async (report) => {
      bench.reports.push(report);
      if (report.state === 'BLOCKED') worker = await bench.serve('transfer@elsewhere');
    };
    await bench.run((handle) => handle.result());
    await worker?.end();
    expect(bench.states()).toEqual(['PENDING', 'BLOCKED', 'PENDING', 'UPLOADING', 'COMPLETED']);
  });

  it.each(['signal', 'Temporal’s own'])(
    'closes as Cancelled by %s cancel, with the multipart upload aborted',
    async (how) => {
      const bench = new Bench(env);
      bench.transfer.uploadParts = ({ window }) => untilStopped(windowResult(window, { finished: false }));
      await bench.run(async (handle) => {
        await until(() => expect(bench.calls).toContain('uploadParts'));
        await (how === 'signal' ? handle.signal(cancelSignal) : handle.cancel());
        expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
        expect((await handle.describe()).status.name).toBe('CANCELLED');
      });
      expect(bench.calls).toContain('abortMultipartUpload');
      expect(bench.states().at(-1)).toBe('CANCELLED');
    },
  );

  it('stays completed when the cancel comes after Complete', async () => {
    const bench = new Bench(env);
    bench.transfer.verifyObject = async ({ stored: { etag, size } }) => {
      await env.client.workflow.getHandle(uploadWorkflowId(bench.id)).signal(cancelSignal);
      return { verification: 'full', etag, size };
    };
    const result = await bench.run((handle) => handle.result());
    expect(result.etag).toBe('"done"');
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('is honest when it was cancelled in Complete and the object is there', async () => {
    const bench = new Bench(env);
    bench.transfer.completeMultipartUpload = async () => {
      await untilStopped(windowResult({ first: 1, last: 1 }));
      throw new CancelledFailure('gave up waiting for the answer');
    };
    bench.transfer.settleObject = ({ token }) => Promise.resolve(stored(7, token));
    await bench.run(async (handle) => {
      await until(() => expect(bench.calls).toContain('completeMultipartUpload'));
      await handle.cancel();
      expect(await handle.result()).toMatchObject({ size: 7 });
    });
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });
});
