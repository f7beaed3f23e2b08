/** `inspectSource`: pins the source and decides everything that limits and configuration have a say in. */
import { LongshoreError } from '../core/errors.js';
import {
  MAX_BUFFERED_PART,
  MAX_CONCURRENCY,
  MAX_GENERATIONS,
  MAX_IN_FLIGHT_BYTES,
  MAX_PART_SIZE,
  MiB,
  WINDOWS_AT_ONCE,
} from '../core/limits.js';
import { planParts, planUnknown, planWindows, type PartPlan, type ServerProfile } from '../core/part-plan.js';
import { sourceLabel, type ClientSource, type UploadObjectInput } from '../core/uploads.js';
import type {
  Inspection,
  KeyHolder,
  PartsPlan,
  ResolvedOptions,
  TransferPlan,
} from '../core/upload-steps.js';
import { validateUpload } from '../core/validate.js';
import type { UploadDefaults } from '../infra/config.js';
import type { ObjectStore } from '../infra/s3/store.js';
import type { CarriedAttributes, SourceLook, Sources } from '../infra/sources/source.js';
import { attempting } from './attempt.js';
import type { KeysOf } from './keyed.js';
import { holderAt } from './objects.js';
import { isOwnPlace } from './own-place.js';

/** The server copies by itself: fewer, larger requests cost nobody memory. */
const COPY_PART_SIZE = 128 * MiB;
const COPY_CONCURRENCY = 8;

export interface InspectDeps {
  /** The destination's. */
  store: ObjectStore;
  sources: Sources;
  defaults: UploadDefaults;
  profile: ServerProfile;
  keysOf: KeysOf;
}

export function createInspectSource(deps: InspectDeps): (input: UploadObjectInput) => Promise<Inspection> {
  return async (input) => {
    validateUpload(input);
    if (input.source.kind === 'client') return planSession(input, input.source, deps);
    const { look, carried, ...found } = await attempting(({ signal }) => lookAt(deps, input, signal));
    checkExpectedSize(input, look);
    const options = resolveOptions(input, look, carried, deps.defaults);
    const plan = planTransfer(look, options, deps);
    const limited = limitInFlight(options, plan, input.options.concurrency === undefined);
    const sent = { plan: shared(plan, limited.concurrency), options: limited };
    return { source: look.pinned, ...sent, maxGenerations: MAX_GENERATIONS, ...found };
  };
}

/** A session's parts are its client's chunks: of equal size, and nothing has to be looked at. */
function planSession(input: UploadObjectInput, source: ClientSource, deps: InspectDeps): Inspection {
  const { defaults, profile } = deps;
  const { partSize, expectedSize: size } = input.options;
  const parts =
    size === undefined
      ? planUnknown(partSize ?? defaults.expectedMax, partSize ?? defaults.partSize, profile)
      : planParts(size, partSize ?? defaults.partSize, profile);
  const pinned = { ...source, size: size ?? null };
  const look: SourceLook = { pinned, contentType: undefined, access: 'sequential' };
  const plan: PartsPlan = {
    ...{ kind: 'parts', mode: 'sequential', windows: [], windowsAtOnce: 0 },
    parts: { ...parts, growEvery: null },
  };
  const options = resolveOptions(input, look, {}, defaults);
  return { source: pinned, plan, options, maxGenerations: MAX_GENERATIONS };
}

async function lookAt(
  { store, sources, keysOf }: InspectDeps,
  input: UploadObjectInput,
  signal: AbortSignal,
): Promise<{ look: SourceLook; carried: CarriedAttributes; before?: KeyHolder }> {
  const keys = await keysOf(input, 'inspectSource');
  const look = await sources.inspect(input.source, signal, keys.source);
  const carried = (input.options.keepAttributes === true ? await look.attributes?.(signal) : undefined) ?? {};
  // An earlier version stays what it is whatever comes to the key, so only what was there tells that something came.
  if (!isOwnPlace(input, look.pinned) || look.pinned.versionId === undefined) return { look, carried };
  return { look, carried, before: await holderAt(store, input.destination, keys, signal) };
}

function checkExpectedSize({ source, options }: UploadObjectInput, { pinned }: SourceLook): void {
  if (options.expectedSize === undefined || pinned.size === null || pinned.size === options.expectedSize)
    return;
  const message = `the source has ${pinned.size} bytes, not ${options.expectedSize}`;
  throw new LongshoreError('SizeMismatch', message, { op: 'inspect', key: sourceLabel(source) });
}

function resolveOptions(
  input: UploadObjectInput,
  look: SourceLook,
  carried: CarriedAttributes,
  defaults: UploadDefaults,
): ResolvedOptions {
  const encryption = input.options.encryption ?? defaults.encryption;
  return {
    ...carried,
    ...input.options,
    ...(encryption === undefined ? {} : { encryption }),
    contentType: input.options.contentType ?? look.contentType ?? 'application/octet-stream',
    checksum: input.options.checksum ?? true,
    concurrency: input.options.concurrency ?? defaults.concurrency,
  };
}

function planTransfer(
  look: SourceLook,
  options: ResolvedOptions,
  { defaults, profile }: InspectDeps,
): TransferPlan {
  const { pinned } = look;
  const serverSide = pinned.kind === 'object' && pinned.serverSide;
  // No range of a copy can name nothing, and nothing needs no encryption before it is at the key.
  if (serverSide && pinned.size === 0) return { kind: 'copy', size: 0 };
  // Whether a server really encrypts shows in an answer; a multipart upload's comes before any byte is at the key.
  if (pinned.size !== null && pinned.size < defaults.threshold && options.encryption === undefined) {
    return { kind: serverSide ? 'copy' : 'put', size: pinned.size };
  }
  const asked = options.partSize ?? (serverSide ? COPY_PART_SIZE : defaults.partSize);
  const parts =
    pinned.size === null
      ? planUnknown(defaults.expectedMax, asked, profile)
      : planParts(pinned.size, asked, profile);
  return windowed(parts, serverSide ? 'copy' : look.access, profile.maxParts);
}

function windowed(parts: PartPlan, mode: PartsPlan['mode'], maxParts: number): PartsPlan {
  if (mode === 'sequential' || parts.count === null) {
    checkBuffered(parts);
    const windows = [{ first: 1, last: parts.count ?? maxParts }];
    return { kind: 'parts', parts, mode: 'sequential', windows, windowsAtOnce: 1 };
  }
  return { kind: 'parts', parts, mode, windows: planWindows(parts.count), windowsAtOnce: WINDOWS_AT_ONCE };
}

/** A source that cannot be read twice passes through Buffers. */
function checkBuffered({ partSize }: PartPlan): void {
  if (partSize <= MAX_BUFFERED_PART) return;
  const message = `parts of ${partSize} bytes do not fit into memory, and this source cannot be read in ranges`;
  throw new LongshoreError('PlanImpossible', message, {
    op: 'plan',
    hint: `Lower the part size, or LONGSHORE_EXPECTED_MAX, so that parts are at most ${MAX_BUFFERED_PART} bytes.`,
  });
}

/** What is in flight is what a kill sends twice, and what a worker holds in memory. */
function limitInFlight(options: ResolvedOptions, plan: TransferPlan, byDefault: boolean): ResolvedOptions {
  if (plan.kind !== 'parts') return options;
  if (plan.mode === 'copy') return byDefault ? { ...options, concurrency: COPY_CONCURRENCY } : options;
  const partSize = Math.min(plan.parts.partSize, MAX_PART_SIZE);
  const fitting = Math.max(1, Math.floor(MAX_IN_FLIGHT_BYTES / partSize));
  return { ...options, concurrency: Math.min(options.concurrency, fitting, MAX_CONCURRENCY) };
}

/** Windows that run at once share the object's concurrency, so there are no more of them than it is. */
function shared(plan: TransferPlan, concurrency: number): TransferPlan {
  if (plan.kind !== 'parts') return plan;
  return { ...plan, windowsAtOnce: Math.min(plan.windowsAtOnce, concurrency) };
}
