/** The uploadObject workflow on its own: what it does with what its activities say, with time skipped. */
import { randomUUID } from 'node:crypto';
import { ApplicationFailure, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { CancelledFailure, Context } from '@temporalio/activity';
import { defineSearchAttributeKey } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OrchestrationActivities } from '../../src/activities/catalog.js';
import type { TransferActivities } from '../../src/activities/uploads.js';
import { ERRORS, type ErrorCode } from '../../src/core/errors.js';
import { MiB } from '../../src/core/limits.js';
import { planParts, planWindows } from '../../src/core/part-plan.js';
import { SEARCH_ATTRIBUTES } from '../../src/core/states.js';
import {
  cancelSignal,
  pauseSignal,
  progressQuery,
  resumeSignal,
  stateQuery,
  type CreateInput,
  type Inspection,
  type StoredObject,
  type UploadObjectInput,
  type UploadReport,
  type UploadResult,
  type WindowInput,
  type WindowResult,
} from '../../src/core/uploads.js';
import { uploadWorkflowId } from '../../src/core/ids.js';
import { startTimeSkipping, type TimeSkipping } from '../helpers/time-skipping.js';
import { eventually } from '../helpers/wait.js';

const PART = 8 * MiB;
let env: TimeSkipping;

beforeAll(async () => {
  env = await startTimeSkipping();
}, 60_000);
afterAll(() => env.teardown());

/** One upload with activities of a test's own, on workers of its own. */
class Bench {
  readonly id = randomUUID();
  readonly reports: UploadReport[] = [];
  readonly calls: string[] = [];
  parts = 300;
  transfer: Partial<TransferActivities> = {};

  get input(): UploadObjectInput {
    return {
      id: this.id,
      source: { kind: 'object', bucket: 'from', key: 'k' },
      destination: { bucket: 'to-bucket', key: 'k' },
      options: {},
    };
  }

  inspection(): Inspection {
    const size = this.parts * PART - 1;
    return {
      source: { kind: 'object', bucket: 'from', key: 'k', size, etag: '"e"', crc32: null, serverSide: false },
      plan: { kind: 'parts', mode: 'random', parts: planParts(size, PART), windows: planWindows(this.parts), windowsAtOnce: 2 },
      options: { contentType: 'a/b', checksum: true, concurrency: 4 },
      maxGenerations: 3,
    };
  }

  private activities(): TransferActivities & OrchestrationActivities {
    const whole: TransferActivities & OrchestrationActivities = {
      ping: () => Promise.resolve(),
      inspectSource: () => Promise.resolve(this.inspection()),
      createMultipartUpload: ({ token }) =>
        Promise.resolve({ s3UploadId: `mpu-${token.nonce}`, token, before: 'absent' as const }),
      uploadParts: ({ window }) => Promise.resolve(windowResult(window)),
      completeMultipartUpload: ({ created, size }) => Promise.resolve(stored(size, created.token)),
      abortMultipartUpload: () => Promise.resolve(),
      putObject: ({ token }) => Promise.resolve(stored(1, token)),
      settleObject: () => Promise.resolve(null),
      verifyObject: ({ stored: { etag, size } }) => Promise.resolve({ verification: 'full' as const, etag, size }),
      reportUpload: (report) => {
        this.reports.push(report);
        return Promise.resolve();
      },
      requestCancellation: async ({ workflowId, runId }) => {
        await env.client.workflow.getHandle(workflowId, runId).cancel();
      },
      ...this.transfer,
    };
    return Object.fromEntries(
      Object.entries(whole).map(([name, activity]) => [
        name,
        (...args: never[]) => {
          this.calls.push(name);
          return (activity as (...args: never[]) => Promise<unknown>)(...args);
        },
      ]),
    ) as unknown as TransferActivities & OrchestrationActivities;
  }

  /** Queues are global names, so each upload runs in a namespace of queues of its own: it is alone while it runs. */
  async run<T>(body: (handle: WorkflowHandle<(input: UploadObjectInput) => Promise<UploadResult>>) => Promise<T>): Promise<T> {
    const activities = this.activities();
    const common = { connection: env.nativeConnection, namespace: env.namespace, activities };
    const orchestration = await Worker.create({ ...common, taskQueue: 'orchestration', workflowBundle: env.bundle });
    const transfer = await Worker.create({ ...common, taskQueue: 'transfer', maxHeartbeatThrottleInterval: 100 });
    const start = async (): Promise<T> => {
      const handle = await env.client.workflow.start<(input: UploadObjectInput) => Promise<UploadResult>>('uploadObject', {
        args: [this.input],
        workflowId: uploadWorkflowId(this.id),
        taskQueue: 'orchestration',
        typedSearchAttributes: [
          { key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.state, 'KEYWORD'), value: 'PENDING' },
        ],
      });
      return await body(handle);
    };
    return await transfer.runUntil(orchestration.runUntil(start()));
  }

  states(): string[] {
    return this.reports.map((report) => report.state);
  }
}

function windowResult({ first, last }: { first: number; last: number }, change: Partial<WindowResult> = {}): WindowResult {
  const partsDone = last - first + 1;
  return { ledger: `L${first}`, partsDone, bytesDone: partsDone * PART, bytesSent: partsDone * PART, finished: true, ...change };
}

function stored(size: number, token: StoredObject['token']): StoredObject {
  return { etag: '"done"', size, token, checksumAccepted: true, crc32: 'AAAAAA==', bytesSent: 0 };
}

function failing(code: ErrorCode): Promise<never> {
  const details = { code, message: `it is ${code}`, hint: ERRORS[code].hint };
  const nonRetryable = ERRORS[code].retry !== 'retry';
  return Promise.reject(ApplicationFailure.create({ type: code, message: details.message, nonRetryable, details: [details] }));
}

/** Waits until the expectations hold. */
async function until(expectations: () => unknown): Promise<void> {
  await eventually(async () => {
    await expectations();
    return true;
  });
}

async function failureOf(handle: WorkflowHandle): Promise<unknown> {
  const error: unknown = await handle.result().then(
    () => undefined,
    (caught: unknown) => caught,
  );
  return error instanceof WorkflowFailedError ? error.cause : error;
}

/** An activity that moves nothing until it is told to stop, and then returns what it has. */
async function untilStopped(result: WindowResult): Promise<WindowResult> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), 50);
  try {
    await context.cancelled;
  } catch (error) {
    if (!(error instanceof CancelledFailure)) throw error;
  } finally {
    clearInterval(beat);
  }
  return result;
}

describe('uploadObject', () => {
  it('inspects, records, creates, sends every window, completes with all ledgers, verifies and records', async () => {
    const bench = new Bench();
    let ledgers: string[] = [];
    bench.transfer.completeMultipartUpload = (input) => {
      ledgers = input.ledgers;
      return Promise.resolve(stored(input.size, input.created.token));
    };
    const result = await bench.run((handle) => handle.result());
    expect(ledgers).toEqual(['L1', 'L129', 'L257']);
    expect(result).toMatchObject({ parts: 300, generations: 1, verification: 'full', checksum: 'crc32:AAAAAA==' });
    expect(bench.states()).toEqual(['PENDING', 'UPLOADING', 'COMPLETED']);
    expect(bench.reports.map((report) => report.sequence)).toEqual([1, 2, 3]);
    expect(bench.calls.indexOf('reportUpload')).toBeLessThan(bench.calls.indexOf('createMultipartUpload'));
  });

  it('begins afresh after NoSuchUpload, with a new token and none of the old ledgers', async () => {
    const bench = new Bench();
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
    const bench = new Bench();
    bench.transfer.uploadParts = () => failing('NoSuchUpload');
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'NoSuchUpload' });
    });
    expect(bench.calls.filter((call) => call === 'createMultipartUpload')).toHaveLength(3);
  });

  it.each(['SourceChanged', 'AccessDenied', 'OutcomeUnknown', 'EncryptionNotApplied'] as const)(
    'aborts and fails with %s, and says so in the catalog',
    async (code) => {
      const bench = new Bench();
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
    const bench = new Bench();
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
    const bench = new Bench();
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

  it('does not stay paused for ever', async () => {
    const bench = new Bench();
    bench.transfer.inspectSource = async () => {
      await env.client.workflow.getHandle(uploadWorkflowId(bench.id)).signal(pauseSignal);
      return bench.inspection();
    };
    await bench.run(async (handle) => {
      expect(await failureOf(handle)).toMatchObject({ type: 'ParkedTooLong' });
    });
  });

  it('parks as BLOCKED on what a person can repair, and tries again at resume', async () => {
    const bench = new Bench();
    let expired = true;
    bench.transfer.createMultipartUpload = ({ token }) =>
      expired ? failing('ExpiredCredentials') : Promise.resolve({ s3UploadId: 'm', token, before: 'absent' });
    await bench.run(async (handle) => {
      await until(async () => {
        expect(await handle.query(stateQuery)).toMatchObject({ state: 'BLOCKED', failure: { code: 'ExpiredCredentials' } });
      });
      expired = false;
      await handle.signal(resumeSignal);
      await handle.result();
    });
    expect(bench.states()).toEqual(['PENDING', 'BLOCKED', 'PENDING', 'UPLOADING', 'COMPLETED']);
  });

  it.each(['signal', 'Temporal’s own'])('closes as Cancelled by %s cancel, with the multipart upload aborted', async (how) => {
    const bench = new Bench();
    bench.transfer.uploadParts = ({ window }) => untilStopped(windowResult(window, { finished: false }));
    await bench.run(async (handle) => {
      await until(() => expect(bench.calls).toContain('uploadParts'));
      await (how === 'signal' ? handle.signal(cancelSignal) : handle.cancel());
      expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
      expect((await handle.describe()).status.name).toBe('CANCELLED');
    });
    expect(bench.calls).toContain('abortMultipartUpload');
    expect(bench.states().at(-1)).toBe('CANCELLED');
  });

  it('stays completed when the cancel comes after Complete', async () => {
    const bench = new Bench();
    bench.transfer.verifyObject = async ({ stored: { etag, size } }) => {
      await env.client.workflow.getHandle(uploadWorkflowId(bench.id)).signal(cancelSignal);
      return { verification: 'full', etag, size };
    };
    const result = await bench.run((handle) => handle.result());
    expect(result.etag).toBe('"done"');
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('is honest when it was cancelled in Complete and the object is there', async () => {
    const bench = new Bench();
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

  it('waits for the catalog before it creates, and loses nothing while it is away', async () => {
    const bench = new Bench();
    let away = 20;
    bench.transfer = {};
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
});
