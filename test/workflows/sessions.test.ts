/** A session's workflow on its own, on the dev server: what it does with what its client and its activities say. */
import { CancelledFailure } from '@temporalio/activity';
import { WorkflowUpdateFailedError, type WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  begunSignal,
  COMPLETE_UPDATE,
  lostSignal,
  OPENED_UPDATE,
  type CompleteAsk,
  type CompleteSessionInput,
  type CompletionAnswer,
  type Incomplete,
  type OpenedSession,
  type OpenSessionInput,
} from '../../src/core/sessions.js';
import { cancelSignal, pauseSignal, resumeSignal, stateQuery } from '../../src/core/uploads.js';
import type { CreateInput } from '../../src/core/upload-steps.js';
import { testNamespace, type TestNamespace } from '../helpers/temporal.js';
import {
  Bench,
  benchServer,
  failing,
  failureOf,
  sessionSource,
  stored,
  until,
  untilStopped,
  windowResult,
  type BenchServer,
} from '../helpers/upload-bench.js';

let temporal: TestNamespace;
let env: BenchServer;

beforeAll(async () => {
  temporal = await testNamespace();
  env = await benchServer(temporal);
});
afterAll(() => temporal.close());

const opened = (handle: WorkflowHandle): Promise<OpenedSession> =>
  handle.executeUpdate<OpenedSession, []>(OPENED_UPDATE);
const complete = (handle: WorkflowHandle, ask: CompleteAsk = {}): Promise<CompletionAnswer> =>
  handle.executeUpdate<CompletionAnswer, [CompleteAsk]>(COMPLETE_UPDATE, { args: [ask] });
const missing: Incomplete = { missing: [1], missingCount: 1, surplus: [], message: 'missing: 1' };

async function accepted(handle: WorkflowHandle): Promise<number> {
  const { events } = await handle.fetchHistory();
  return (events ?? []).filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes).length;
}

async function refusalOf(answer: Promise<unknown>): Promise<unknown> {
  const error: unknown = await answer.then(
    (value) => {
      throw new Error(`it was to be refused, but answered ${JSON.stringify(value)}`);
    },
    (caught: unknown) => caught,
  );
  return error instanceof WorkflowUpdateFailedError ? error.cause : error;
}

function sessionBench(change: Parameters<typeof sessionSource>[0] = {}): Bench {
  const bench = new Bench(env);
  bench.source = sessionSource(change);
  return bench;
}

describe('a session of chunks', () => {
  it('is opened with what was created, hears of the first chunk, and is complete when it is asked to be', async () => {
    const bench = sessionBench();
    let opening: OpenSessionInput | undefined;
    let completing: CompleteSessionInput | undefined;
    bench.transfer.openSession = (input) => {
      opening = input;
      return Promise.resolve({ generation: 41, s3UploadId: input.s3UploadId });
    };
    bench.transfer.completeSession = (input) => {
      completing = input;
      return Promise.resolve({ stored: stored(7, input.created.token), parts: 3 });
    };
    await bench.run(async (handle) => {
      const open = await opened(handle);
      expect(open).toMatchObject({ generation: 41, chunkSize: 8 * 2 ** 20 });
      expect(open.s3UploadId).toBe(`mpu-${open.token.nonce}`);
      expect(opening).toMatchObject({ s3UploadId: open.s3UploadId, token: open.token, runGeneration: 1 });
      await handle.signal(begunSignal);
      await until(async () => expect(await handle.query(stateQuery)).toEqual({ state: 'UPLOADING' }));
      const answer = await complete(handle, { chunks: 3 });
      const result = await handle.result();
      expect(answer).toEqual({ result });
      expect(result).toMatchObject({ size: 7, parts: 3, generations: 1, verification: 'full' });
      expect(completing).toMatchObject({ generation: 41, ask: { chunks: 3 }, again: false });
    });
    expect(bench.states()).toEqual(['PENDING', 'PENDING', 'UPLOADING', 'COMPLETED']);
    expect(bench.reports.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);
    expect(bench.calls).not.toContain('abortMultipartUpload');
    expect(bench.calls).not.toContain('uploadParts');
  });

  it('says what is missing and goes on; what contradicts it is refused, and it goes on too', async () => {
    const bench = sessionBench();
    const answers: (() => ReturnType<NonNullable<typeof bench.transfer.completeSession>>)[] = [
      () => Promise.resolve({ incomplete: missing }),
      () => Promise.resolve({ refused: { code: 'SizeMismatch', message: '6 bytes, not 7', hint: '' } }),
    ];
    const again: boolean[] = [];
    const turns: number[] = [];
    bench.transfer.completeSession = ({ created, ...input }) => {
      again.push(input.again);
      turns.push(input.turn);
      return answers.shift()?.() ?? Promise.resolve({ stored: stored(7, created.token), parts: 3 });
    };
    await bench.run(async (handle) => {
      expect(await complete(handle)).toEqual({ incomplete: missing });
      expect(await refusalOf(complete(handle, { size: 7 }))).toMatchObject({ type: 'SizeMismatch' });
      expect(await refusalOf(complete(handle, { size: -1 }))).toMatchObject({ type: 'InvalidInput' });
      expect(await complete(handle)).toHaveProperty('result');
      await handle.result();
    });
    expect(again).toEqual([false, true, true]);
    expect(turns).toEqual([1, 2, 3]);
  });

  it('does once what is asked many times at once', async () => {
    const bench = sessionBench();
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    bench.transfer.completeSession = async ({ created }) => {
      await held;
      return { stored: stored(7, created.token), parts: 3 };
    };
    await bench.run(async (handle) => {
      const asks = [complete(handle), complete(handle), complete(handle, { chunks: 3 }), complete(handle)];
      await until(() => expect(bench.calls).toContain('completeSession'));
      letGo();
      const result = await handle.result();
      expect(await Promise.all(asks)).toEqual(asks.map(() => ({ result })));
    });
    expect(bench.calls.filter((call) => call === 'completeSession')).toHaveLength(1);
  });

  it('looks once for those who ask the same at once', async () => {
    const bench = sessionBench();
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    bench.transfer.completeSession = async () => {
      await held;
      return { incomplete: missing };
    };
    await bench.run(async (handle) => {
      const asks = [complete(handle), complete(handle), complete(handle)];
      await until(async () => expect(await accepted(handle)).toBe(3));
      letGo();
      expect(await Promise.all(asks)).toEqual(asks.map(() => ({ incomplete: missing })));
      expect(bench.calls.filter((call) => call === 'completeSession')).toHaveLength(1);
      await handle.signal(cancelSignal);
      expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
    });
  });

  it('tells whoever contradicts what was completed meanwhile', async () => {
    const bench = sessionBench();
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    bench.transfer.completeSession = async ({ created }) => {
      await held;
      return { stored: stored(7, created.token), parts: 3 };
    };
    await bench.run(async (handle) => {
      const first = complete(handle);
      await until(() => expect(bench.calls).toContain('completeSession'));
      const other = refusalOf(complete(handle, { size: 8 }));
      await until(async () => expect(await accepted(handle)).toBe(2));
      letGo();
      expect(await first).toHaveProperty('result');
      expect(await other).toMatchObject({ type: 'SizeMismatch' });
      await handle.result();
    });
  });

  it('is not verified once more when that was done right away', async () => {
    const bench = sessionBench();
    bench.transfer.completeSession = ({ created }) =>
      Promise.resolve({
        ...{ stored: stored(7, created.token), parts: 3 },
        verified: { verification: 'server', size: 7, etag: '"seen"' },
      });
    await bench.run(async (handle) => {
      expect(await complete(handle)).toMatchObject({ result: { verification: 'server', etag: '"seen"' } });
      await handle.result();
    });
    expect(bench.calls).not.toContain('verifyObject');
  });

  it('is opened by its workflow when that failed while it was begun, as an earlier attempt has opened it', async () => {
    const bench = sessionBench();
    let opens = 0;
    bench.transfer.openSession = () => {
      opens += 1;
      // Over the first, the catalog was away.
      return opens === 1
        ? failing('CatalogUnavailable')
        : Promise.resolve({ generation: 5, s3UploadId: 'of-an-earlier-attempt' });
    };
    const completing: CompleteSessionInput[] = [];
    bench.transfer.completeSession = (input) => {
      completing.push(input);
      return Promise.resolve({ stored: stored(7, input.created.token), parts: 3 });
    };
    await bench.run(async (handle) => {
      expect(await opened(handle)).toMatchObject({ generation: 5, s3UploadId: 'of-an-earlier-attempt' });
      await complete(handle);
      await handle.result();
    });
    expect(completing).toMatchObject([{ generation: 5, created: { s3UploadId: 'of-an-earlier-attempt' } }]);
    expect(bench.calls.filter((call) => call === 'createMultipartUpload')).toHaveLength(1);
    expect(bench.reports.at(-1)).toMatchObject({ s3UploadId: 'of-an-earlier-attempt' });
  });

  it('begins afresh when its multipart upload is lost, and asks for everything again', async () => {
    const bench = sessionBench();
    const creates: CreateInput[] = [];
    bench.transfer.createMultipartUpload = (input) => {
      creates.push(input);
      return Promise.resolve({ s3UploadId: `mpu-${creates.length}`, token: input.token, before: 'absent' });
    };
    await bench.run(async (handle) => {
      const first = await opened(handle);
      await handle.signal(lostSignal, first.generation);
      await until(async () => expect((await opened(handle)).generation).toBe(2));
      // Late news of the first one changes nothing.
      await handle.signal(lostSignal, first.generation);
      const second = await opened(handle);
      expect(second).toMatchObject({ s3UploadId: 'mpu-2', generation: 2 });
      expect(second.token.nonce).not.toBe(first.token.nonce);
      expect(await complete(handle)).toMatchObject({ result: { generations: 2 } });
      await handle.result();
    });
    expect(creates).toHaveLength(2);
    expect(creates[1]?.lost).toMatchObject({ completing: false });
    expect(bench.calls.filter((call) => call === 'abortMultipartUpload')).toHaveLength(1);
  });

  it('does not begin afresh for ever', async () => {
    const bench = sessionBench();
    bench.transfer.completeSession = () => failing('NoSuchUpload');
    await bench.run(async (handle) => {
      expect(await refusalOf(complete(handle))).toMatchObject({ type: 'NoSuchUpload' });
      expect(await failureOf(handle)).toMatchObject({ type: 'NoSuchUpload' });
    });
    expect(bench.calls.filter((call) => call === 'createMultipartUpload')).toHaveLength(3);
    expect(bench.states().at(-1)).toBe('FAILED');
  });

  it.each(['cancelled', 'failed'])(
    '%s before it was begun, it aborts what an attempt wrote down',
    async (how) => {
      const bench = sessionBench();
      const aborted: string[] = [];
      const asked: unknown[] = [];
      bench.transfer.beginSession = (input) => {
        asked.push({ id: bench.id, token: input.token, runId: input.report.runId, sequence: 2 });
        return failing(how === 'failed' ? 'NoSuchBucket' : 'S3Unavailable');
      };
      bench.transfer.findBegun = (begun) => {
        expect(asked).toContainEqual(begun);
        return Promise.resolve('of an attempt that died');
      };
      bench.transfer.abortMultipartUpload = ({ s3UploadId }) =>
        Promise.resolve(void aborted.push(s3UploadId));
      await bench.run(async (handle) => {
        await until(() => expect(bench.calls).toContain('beginSession'));
        if (how === 'cancelled') await handle.signal(cancelSignal);
        await failureOf(handle);
      });
      expect(bench.states().at(-1)).toBe(how.toUpperCase());
      expect(aborted).toEqual(['of an attempt that died']);
    },
  );

  it('leaves a report that its worker cannot write to an activity', async () => {
    const bench = sessionBench();
    let tries = 0;
    bench.transfer.reportUpload = (report) => {
      if (report.state === 'COMPLETED' && ++tries < 3) return failing('CatalogUnavailable');
      bench.reports.push(report);
      return Promise.resolve();
    };
    await bench.run(async (handle) => {
      expect(await complete(handle)).toHaveProperty('result');
      const { events } = await handle.fetchHistory();
      const scheduled = (events ?? []).flatMap(
        (event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? [],
      );
      expect(scheduled).toEqual(['beginSession', 'completeSession', 'verifyObject', 'reportUpload']);
      await handle.result();
    });
    expect(tries).toBe(3);
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('says at once why it never opened', async () => {
    const bench = sessionBench();
    bench.transfer.createMultipartUpload = () => failing('NoSuchBucket');
    await bench.run(async (handle) => {
      expect(await refusalOf(opened(handle))).toMatchObject({ type: 'NoSuchBucket' });
      expect(await failureOf(handle)).toMatchObject({ type: 'NoSuchBucket' });
    });
  });

  it.each(['by signal', 'by Temporal'])('cancelled %s it aborts, and tells who waits', async (how) => {
    const bench = sessionBench();
    bench.transfer.completeSession = async () => {
      await untilStopped(windowResult({ first: 1, last: 1 }));
      throw new CancelledFailure('stopped');
    };
    await bench.run(async (handle) => {
      await opened(handle);
      const waiting = refusalOf(complete(handle));
      await until(() => expect(bench.calls).toContain('completeSession'));
      await (how === 'by signal' ? handle.signal(cancelSignal) : handle.cancel());
      expect(await waiting).toMatchObject({ type: 'Cancelled' });
      expect(await failureOf(handle)).toBeInstanceOf(CancelledFailure);
    });
    expect(bench.states().at(-1)).toBe('CANCELLED');
    expect(bench.calls).toContain('abortMultipartUpload');
  });

  it('is complete when the cancel came too late', async () => {
    const bench = sessionBench();
    bench.transfer.completeSession = async () => {
      await untilStopped(windowResult({ first: 1, last: 1 }));
      throw new CancelledFailure('stopped');
    };
    bench.transfer.settleObject = ({ token }) => Promise.resolve(stored(7, token));
    await bench.run(async (handle) => {
      const waiting = complete(handle);
      await until(() => expect(bench.calls).toContain('completeSession'));
      await handle.signal(cancelSignal);
      expect(await waiting).toMatchObject({ result: { size: 7 } });
      expect(await handle.result()).toMatchObject({ size: 7 });
    });
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('is complete only once it is resumed, if it was paused', async () => {
    const bench = sessionBench();
    await bench.run(async (handle) => {
      await opened(handle);
      await handle.signal(pauseSignal);
      const waiting = complete(handle);
      await until(() => expect(bench.states()).toContain('PAUSED'));
      await handle.signal(resumeSignal);
      expect(await waiting).toHaveProperty('result');
      await handle.result();
    });
  });
});

describe('a session of a whole object', () => {
  it('begins no multipart upload, and finds the object by itself', async () => {
    const bench = sessionBench({ mode: 'whole' });
    let there = false;
    bench.transfer.settleObject = ({ token }) => Promise.resolve(there ? stored(7, token) : null);
    bench.transfer.verifyObject = ({ stored: { etag, size, crc32 } }) => {
      expect(crc32).toBeUndefined();
      return Promise.resolve({ verification: 'size', etag, size });
    };
    await bench.run(async (handle) => {
      expect(await opened(handle)).toMatchObject({ s3UploadId: null, generation: 1 });
      expect(await complete(handle)).toMatchObject({ incomplete: { missing: [0], missingCount: 1 } });
      there = true;
      expect(await handle.result()).toMatchObject({ size: 7, parts: 1, verification: 'size' });
    });
    expect(bench.calls).not.toContain('createMultipartUpload');
    expect(bench.states().at(-1)).toBe('COMPLETED');
  });

  it('vouches for a checksum that its client names, and refuses another', async () => {
    const bench = sessionBench({ mode: 'whole' });
    bench.transfer.settleObject = ({ token }) => Promise.resolve(stored(7, token));
    await bench.run(async (handle) => {
      const other = refusalOf(complete(handle, { checksum: 'crc32:BBBBBB==' }));
      expect(await other).toMatchObject({ type: 'VerificationFailed' });
      expect(await complete(handle, { checksum: 'crc32:AAAAAA==' })).toMatchObject({
        result: { checksum: 'crc32:AAAAAA==', verification: 'full' },
      });
      await handle.result();
    });
  });

  it('counts as it is once nobody may send it again', async () => {
    const bench = sessionBench({ mode: 'whole' });
    const open: boolean[] = [];
    const turns: number[] = [];
    bench.transfer.setSessionOpen = (input) => {
      expect(input).toMatchObject({ id: bench.id, generation: 1 });
      open.push(input.open);
      turns.push(input.turn);
      return Promise.resolve(0);
    };
    // What was seen is gone at the second look, and another is there in the end.
    const sizes = [7, undefined, 8];
    bench.transfer.settleObject = ({ token }) => {
      const size = sizes.length > 1 ? sizes.shift() : sizes[0];
      return Promise.resolve(size === undefined ? null : stored(size, token));
    };
    await bench.run(async (handle) => {
      expect(await handle.result()).toMatchObject({ size: 8 });
    });
    expect(open).toEqual([false, true, false]);
    expect(turns).toEqual([1, 2, 3]);
    const after = bench.calls.slice(bench.calls.lastIndexOf('setSessionOpen'));
    expect(after).toContain('settleObject');
  });

  it('is looked at once more only when nothing that was sent before can arrive', async () => {
    const bench = sessionBench({ mode: 'whole' });
    let closedAt = 0;
    let waited = 0;
    bench.transfer.setSessionOpen = () => {
      closedAt = Date.now();
      return Promise.resolve(1500);
    };
    bench.transfer.settleObject = ({ token }) => {
      if (closedAt > 0) waited = Date.now() - closedAt;
      // Another arrives after the first look.
      return Promise.resolve(stored(closedAt === 0 ? 7 : 8, token));
    };
    await bench.run(async (handle) => {
      expect(await handle.result()).toMatchObject({ size: 8 });
    });
    expect(waited).toBeGreaterThanOrEqual(1400);
  });

  it('takes nothing any more before the last look of one that is cancelled', async () => {
    const bench = sessionBench({ mode: 'whole' });
    await bench.run(async (handle) => {
      await opened(handle);
      await handle.signal(cancelSignal);
      await failureOf(handle);
    });
    expect(bench.states().at(-1)).toBe('CANCELLED');
    const { calls } = bench;
    expect(calls.lastIndexOf('settleObject')).toBeGreaterThan(calls.indexOf('setSessionOpen'));
    expect(calls).toContain('setSessionOpen');
  });

  it('is complete, not cancelled, when the object was there already', async () => {
    const bench = sessionBench({ mode: 'whole' });
    let looks = 0;
    bench.transfer.settleObject = ({ token }) => Promise.resolve(looks++ === 0 ? stored(7, token) : null);
    await bench.run(async (handle) => {
      await opened(handle);
      await handle.signal(cancelSignal);
      expect(await handle.result()).toMatchObject({ size: 7 });
    });
  });
});
