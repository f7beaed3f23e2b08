import { crc32 } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { combineCrc32 } from '../../src/core/crc32.js';

describe('combineCrc32', () => {
  it.each([
    [0, 0],
    [0, 5],
    [5, 0],
    [1, 1],
    [1000, 4096],
    [70_001, 262_147],
  ])('equals the CRC of the concatenation of %i and %i bytes', (a, b) => {
    const left = randomBytes(a);
    const right = randomBytes(b);
    expect(combineCrc32(crc32(left), crc32(right), b)).toBe(crc32(Buffer.concat([left, right])));
  });

  it('takes lengths beyond 32 bits: appending 5 GiB of zeros in one step equals five steps of 1 GiB', () => {
    const gib = 1024 ** 3;
    const zeroGib = zerosCrc(gib);
    let stepwise = crc32(Buffer.from('longshore'));
    for (let step = 0; step < 5; step++) stepwise = combineCrc32(stepwise, zeroGib, gib);
    expect(combineCrc32(crc32(Buffer.from('longshore')), zerosCrc(5 * gib), 5 * gib)).toBe(stepwise);
  });
});

/** CRC32 of `length` zero bytes, by doubling. */
function zerosCrc(length: number): number {
  let crc = 0;
  let unit = crc32(Buffer.alloc(1));
  let size = 1;
  for (let left = length; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) crc = combineCrc32(crc, unit, size);
    unit = combineCrc32(unit, unit, size);
    size *= 2;
  }
  return crc;
}
