/** `uploadParts`: a window of parts, from whatever kind of source. */
import { LongshoreError } from '../core/errors.js';
import { Ledger } from './ledger.js';
import { partRange } from '../core/part-plan.js';
import { sourceLabel } from '../core/uploads.js';
import type { PartsPlan, TransferHeartbeat, WindowInput, WindowResult } from '../core/upload-steps.js';
import type { OpenSource, Sources } from '../infra/sources/source.js';
import { attempting, type Attempt } from './attempt.js';
import { withKey } from '../infra/s3/customer-keys.js';
import { Cutter } from './cutter.js';
import type { KeysOf } from './keyed.js';
import { inLanes } from './lanes.js';
import { Tally, WindowSender, type WindowDeps } from './window.js';

export type PartsDeps = Omit<WindowDeps, 'sourceKey'> & { sources: Sources; keysOf: KeysOf };

export function createUploadParts(deps: PartsDeps): (input: WindowInput) => Promise<WindowResult> {
  return async (input) => {
    let tally: Tally | undefined;
    return await attempting(
      async (attempt) => {
        const last = attempt.lastDetails as TransferHeartbeat | undefined;
        tally = new Tally(input.window.first, planOf(input).parts, [input.known, last]);
        const sent = Ledger.decode(input.known?.ledger, last?.ledger);
        const { job } = input.upload;
        const lease = job === undefined ? undefined : deps.limits?.lease(job, 'bytes');
        const keys = await deps.keysOf(input.upload, 'uploadParts');
        const keyed: WindowDeps = {
          ...deps,
          store: withKey(deps.store, keys.destination),
          ...(keys.source === undefined ? {} : { sourceKey: keys.source }),
        };
        const sender = new WindowSender(keyed, input, tally, sent, attempt, lease);
        try {
          if (attempt.previous > 0 || input.again) await sender.resume();
          return await moveOrReturn(deps, input, sender, attempt);
        } finally {
          await lease?.close();
        }
      },
      () => tally?.heartbeat(),
    );
  };
}

async function moveOrReturn(
  deps: PartsDeps,
  input: WindowInput,
  sender: WindowSender,
  attempt: Attempt,
): Promise<WindowResult> {
  try {
    return await moveWindow(deps, input, sender, attempt);
  } catch (error) {
    // Told to stop, and what was in flight did not end in time: what is done is worth returning all the same.
    if (error !== attempt.signal.reason || error instanceof LongshoreError || attempt.pausedByOperator)
      throw error;
    return sender.tally.result(false);
  }
}

async function moveWindow(
  deps: PartsDeps,
  input: WindowInput,
  sender: WindowSender,
  attempt: Attempt,
): Promise<WindowResult> {
  const { plan } = sender;
  if (plan.mode === 'copy') return await copyWindow(input, sender, attempt);
  const source = await deps.sources.open(input.inspection.source, attempt.signal, sender.sourceKey);
  try {
    await source.check(attempt.signal);
    if (plan.mode === 'sequential') return await readThrough(deps, source, input, sender, attempt);
    await inLanes(partsOf(input), width(input, sender), signalsOf(attempt), (part, signal) =>
      sender.movePart(source, part, signal),
    );
    return outcome(input, sender, attempt);
  } finally {
    await source.close();
  }
}

async function copyWindow(input: WindowInput, sender: WindowSender, attempt: Attempt): Promise<WindowResult> {
  await inLanes(partsOf(input), width(input, sender), signalsOf(attempt), (part, signal) =>
    sender.copyPart(part, partRange(sender.plan.parts, part), signal),
  );
  return outcome(input, sender, attempt);
}

/** A source that can only be read from its start: parts are cut from the stream as it comes. */
async function readThrough(
  deps: PartsDeps,
  source: OpenSource,
  input: WindowInput,
  sender: WindowSender,
  attempt: Attempt,
): Promise<WindowResult> {
  const stream = await source.stream(0, undefined, attempt.signal);
  const cutter = new Cutter(stream, sender.plan.parts.size);
  const stop = AbortSignal.any([attempt.stopSignal, cutter.ended]);
  const send = async (part: number, signal: AbortSignal): Promise<void> => {
    const { length } = partRange(sender.plan.parts, part);
    const buffers = {
      acquire: () => deps.buffers.acquire(sender.bufferSize(length), signal),
      release: (buffer: Buffer) => deps.buffers.release(buffer),
    };
    const piece = await cutter.next(part, buffers, length);
    if (piece === undefined) return;
    try {
      const { length: filled } = piece.bytes;
      if (filled === 0 && part > 1) return;
      if (part > input.window.last) throw tooLong(input);
      if (!sender.skip(part, filled)) await sender.sendBytes(part, piece.bytes, signal);
    } finally {
      deps.buffers.release(piece.buffer);
    }
  };
  try {
    await inLanes(countFrom(1), width(input, sender), { stop, abort: attempt.signal }, send);
  } finally {
    stream.destroy();
  }
  return sequentialOutcome(input, sender, cutter.outcome, attempt);
}

function sequentialOutcome(
  input: WindowInput,
  sender: WindowSender,
  ended: WindowResult['ended'],
  attempt: Attempt,
): WindowResult {
  const { parts } = sender.plan;
  const whole = ended !== undefined && sender.tally.partsDone === ended.parts;
  if (!whole) return stopped(sender, attempt);
  if (parts.size !== null && ended.size !== parts.size) {
    const message = `the source ended after ${ended.size} of ${parts.size} bytes`;
    throw new LongshoreError('SourceChanged', message, { op: 'read', key: input.upload.destination.key });
  }
  const { expectedSize } = input.upload.options;
  if (expectedSize !== undefined && ended.size !== expectedSize) {
    const message = `the source has ${ended.size} bytes, not ${expectedSize}`;
    throw new LongshoreError('SizeMismatch', message, { op: 'read', key: sourceLabel(input.upload.source) });
  }
  return { ...sender.tally.result(true), ended };
}

function tooLong({ window, upload }: WindowInput): LongshoreError {
  const message = `the source did not end within ${window.last} parts`;
  return new LongshoreError('SourceTooLarge', message, {
    op: 'read',
    key: sourceLabel(upload.source),
    hint: 'Raise LONGSHORE_EXPECTED_MAX on the workers, so that parts are larger.',
  });
}

function outcome({ window }: WindowInput, sender: WindowSender, attempt: Attempt): WindowResult {
  const finished = sender.tally.partsDone === window.last - window.first + 1;
  return finished ? sender.tally.result(true) : stopped(sender, attempt);
}

function stopped(sender: WindowSender, attempt: Attempt): WindowResult {
  if (attempt.pausedByOperator) throw attempt.stopSignal.reason;
  if (attempt.stopSignal.reason instanceof LongshoreError) throw attempt.stopSignal.reason;
  return sender.tally.result(false);
}

function planOf({ inspection }: WindowInput): PartsPlan {
  return inspection.plan as PartsPlan;
}

function signalsOf(attempt: Attempt): { stop: AbortSignal; abort: AbortSignal } {
  return { stop: attempt.stopSignal, abort: attempt.signal };
}

/** Parts of this window in flight at once: the object's concurrency is shared by the windows that run at once. */
function width({ inspection }: WindowInput, { plan }: WindowSender): number {
  const windows = Math.min(plan.windowsAtOnce, plan.windows.length);
  return Math.max(1, Math.floor(inspection.options.concurrency / windows));
}

function* partsOf({ window }: WindowInput): Generator<number> {
  for (let part = window.first; part <= window.last; part++) yield part;
}

function* countFrom(first: number): Generator<number> {
  for (let part = first; ; part++) yield part;
}
