import { describe, expect, it } from 'vitest';
import {
  GiB,
  MAX_OBJECT_SIZE,
  MAX_PARTS,
  MAX_PART_SIZE,
  MAX_WINDOWS,
  MiB,
  MIN_PART_SIZE,
} from '../../src/core/limits.js';
import { partRange, planParts, planUnknown, planWindows, S3_PROFILE } from '../../src/core/part-plan.js';

const PART = 8 * MiB;

/** Every part of a plan, and that they cover the object without gap or overlap. */
function coverage(size: number, partSize: number): number[] {
  const plan = planParts(size, partSize);
  const lengths: number[] = [];
  let next = 0;
  for (let part = 1; part <= (plan.count ?? 0); part++) {
    const { offset, length } = partRange(plan, part);
    expect(offset).toBe(next);
    next += length;
    lengths.push(length);
  }
  expect(next).toBe(size);
  return lengths;
}

describe('planParts', () => {
  it.each([1, MIN_PART_SIZE - 1, MIN_PART_SIZE, MIN_PART_SIZE + 1, 3 * PART - 1, 3 * PART, 3 * PART + 1])(
    'covers %i bytes; only the last part may be short',
    (size) => {
      const lengths = coverage(size, PART);
      expect(lengths.slice(0, -1).every((length) => length === PART)).toBe(true);
      expect(lengths.at(-1)).toBeGreaterThan(0);
    },
  );

  it('makes one empty part of nothing', () => {
    expect(planParts(0, PART)).toMatchObject({ count: 1 });
    expect(partRange(planParts(0, PART), 1)).toEqual({ offset: 0, length: 0 });
  });

  it('takes exactly 10,000 parts as asked, and raises the part size for one byte more', () => {
    expect(planParts(MAX_PARTS * MIN_PART_SIZE, MIN_PART_SIZE)).toMatchObject({
      count: MAX_PARTS,
      partSize: MIN_PART_SIZE,
    });
    const raised = planParts(MAX_PARTS * MIN_PART_SIZE + 1, MIN_PART_SIZE);
    expect(raised.partSize).toBe(6 * MiB);
    expect(raised.count).toBeLessThanOrEqual(MAX_PARTS);
  });

  it('holds the largest object of S3 and refuses one byte more', () => {
    expect(planParts(MAX_OBJECT_SIZE, PART)).toMatchObject({ count: MAX_PARTS, partSize: MAX_PART_SIZE });
    expect(() => planParts(MAX_OBJECT_SIZE + 1, PART)).toThrow(
      expect.objectContaining({ code: 'PlanImpossible' }),
    );
  });

  it.each([0, MIN_PART_SIZE - 1, MAX_PART_SIZE + 1, 1.5, Number.NaN])(
    'refuses a part size of %d',
    (partSize) => {
      expect(() => planParts(GiB, partSize)).toThrow(expect.objectContaining({ code: 'PlanImpossible' }));
    },
  );

  it('keeps to a server that takes fewer parts', () => {
    const plan = planParts(100 * GiB, PART, { ...S3_PROFILE, maxParts: 1000 });
    expect(plan.count).toBeLessThanOrEqual(1000);
  });
});

describe('planUnknown', () => {
  it('sizes equal parts by the largest object expected', () => {
    const plan = planUnknown(1000 * GiB, PART, { ...S3_PROFILE, unequalParts: false });
    expect(plan.partSize * MAX_PARTS).toBeGreaterThanOrEqual(1000 * GiB);
    expect(partRange(plan, 9_999).length).toBe(partRange(plan, 1).length);
  });

  it('grows without gap or overlap where parts may differ, and then holds far more', () => {
    const plan = planUnknown(10 * GiB, PART);
    let next = 0;
    for (let part = 1; part <= MAX_PARTS; part++) {
      const { offset, length } = partRange(plan, part);
      expect(offset).toBe(next);
      next += length;
    }
    expect(next).toBeGreaterThan(40 * 10 * GiB);
  });
});

describe('planWindows', () => {
  it.each([1, 127, 128, 129, 9_999, 10_000])('cuts %i parts into at most 100 contiguous windows', (count) => {
    const windows = planWindows(count);
    expect(windows.length).toBeLessThanOrEqual(MAX_WINDOWS);
    expect(windows[0]?.first).toBe(1);
    expect(windows.at(-1)?.last).toBe(count);
    for (const [index, window] of windows.entries()) {
      if (index > 0) expect(window.first).toBe((windows[index - 1]?.last ?? 0) + 1);
    }
  });

  it('keeps a GiB of default parts in one window', () => {
    expect(planWindows(128)).toEqual([{ first: 1, last: 128 }]);
  });
});
