/** How an object is cut into parts and windows. Pure arithmetic; the limits come from core/limits. */
import { LongshoreError } from './errors.js';
import {
  MAX_BUFFERED_PART,
  MAX_OBJECT_SIZE,
  MAX_PARTS,
  MAX_PART_SIZE,
  MAX_WINDOWS,
  MIN_PART_SIZE,
  MIN_WINDOW_PARTS,
  MiB,
} from './limits.js';
import type { Window } from './upload-steps.js';

/** What a server permits, where it differs from Amazon S3. */
export interface ServerProfile {
  maxParts: number;
  minPartSize: number;
  maxPartSize: number;
  /** Parts may differ in size (some servers demand equal ones, all but the last). */
  unequalParts: boolean;
}

export const S3_PROFILE: ServerProfile = {
  maxParts: MAX_PARTS,
  minPartSize: MIN_PART_SIZE,
  maxPartSize: MAX_PART_SIZE,
  unequalParts: true,
};

export interface PartPlan {
  /** Bytes of every part but the last, up to `growAfter`. */
  partSize: number;
  /** null while the length is unknown: parts are sent until the source ends. */
  count: number | null;
  /** null while unknown. */
  size: number | null;
  /** Unknown length only: after each run of this many parts the size doubles, up to MAX_BUFFERED_PART. null: never. */
  growEvery: number | null;
}

export interface PartRange {
  offset: number;
  length: number;
}

function impossible(message: string): LongshoreError {
  return new LongshoreError('PlanImpossible', message, { op: 'planParts' });
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Parts of an object of known size. An asked size that needs too many parts is raised, to a whole MiB. */
export function planParts(
  size: number,
  askedPartSize: number,
  profile: ServerProfile = S3_PROFILE,
): PartPlan {
  checkAsked(askedPartSize, profile);
  if (!Number.isSafeInteger(size) || size < 0) throw impossible(`a size of ${size} bytes makes no sense`);
  if (size > Math.min(MAX_OBJECT_SIZE, profile.maxParts * profile.maxPartSize)) {
    throw impossible(
      `${size} bytes are more than ${profile.maxParts} parts of ${profile.maxPartSize} bytes can hold`,
    );
  }
  const fitting = Math.min(roundUp(Math.ceil(size / profile.maxParts), MiB), profile.maxPartSize);
  const partSize = Math.max(askedPartSize, profile.minPartSize, fitting);
  return { partSize, count: Math.max(1, Math.ceil(size / partSize)), size, growEvery: null };
}

/**
 * Parts of a source whose length shows only at its end: equal ones, sized by the largest that is expected. Where the
 * server permits parts of unequal size, they grow so that a longer one still fits.
 */
export function planUnknown(
  expectedMax: number,
  askedPartSize: number,
  profile: ServerProfile = S3_PROFILE,
): PartPlan {
  const { partSize } = planParts(expectedMax, askedPartSize, profile);
  return {
    partSize,
    count: null,
    size: null,
    growEvery: profile.unequalParts ? Math.ceil(profile.maxParts / 10) : null,
  };
}

/** Where part `partNumber` (from 1) lies; its length is the most it may have while the size is unknown. */
export function partRange(plan: PartPlan, partNumber: number): PartRange {
  if (plan.growEvery === null) {
    const offset = (partNumber - 1) * plan.partSize;
    const length = plan.size === null ? plan.partSize : Math.min(plan.partSize, plan.size - offset);
    return { offset, length };
  }
  let offset = 0;
  let partSize = plan.partSize;
  let before = partNumber - 1;
  for (; before >= plan.growEvery; before -= plan.growEvery) {
    offset += plan.growEvery * partSize;
    partSize = Math.max(partSize, Math.min(partSize * 2, MAX_BUFFERED_PART));
  }
  return { offset: offset + before * partSize, length: partSize };
}

/** Contiguous runs of parts, at most MAX_WINDOWS of them. */
export function planWindows(count: number): Window[] {
  const parts = Math.max(MIN_WINDOW_PARTS, Math.ceil(count / MAX_WINDOWS));
  const windows: Window[] = [];
  for (let first = 1; first <= count; first += parts)
    windows.push({ first, last: Math.min(count, first + parts - 1) });
  return windows;
}

function checkAsked(askedPartSize: number, profile: ServerProfile): void {
  if (
    !Number.isSafeInteger(askedPartSize) ||
    askedPartSize < profile.minPartSize ||
    askedPartSize > profile.maxPartSize
  ) {
    throw impossible(
      `a part size of ${askedPartSize} bytes is not between ${profile.minPartSize} and ${profile.maxPartSize}`,
    );
  }
}

/** A plan as the row of its upload has it. */
export function planFacts({ size, partSize, count }: PartPlan): {
  size: number | null;
  partSize: number;
  parts?: number;
} {
  return { size, partSize, ...(count === null ? {} : { parts: count }) };
}
