import { describe, expect, test } from 'vitest';
import { bar, progressLine, Speed } from '../../src/client/cli/progress-line.js';
import {
  bytes,
  bytesOf,
  clean,
  cleanLines,
  duration,
  fields,
  jsonLine,
  table,
} from '../../src/client/cli/text.js';
import type { UploadProgress } from '../../src/core/uploads.js';

const MiB = 1024 * 1024;

describe('foreign text', () => {
  test('cannot speak to the terminal', () => {
    expect(clean('a\u001b[2Jb\u0007c\r\n\td\u009b1m')).toBe('a\\u001b[2Jb\\u0007c\\u000d\\n\\td\\u009b1m');
    expect(clean('gpj.\u202eexe')).toBe('gpj.\\u202eexe');
    expect(clean('grüße 😀 日本')).toBe('grüße 😀 日本');
  });

  test('keeps its lines where lines are wanted', () => {
    expect(cleanLines('one\ntwo\u001b[0m')).toEqual(['one', 'two\\u001b[0m']);
  });

  test('is the same text after a round trip through JSON', () => {
    const value = { key: 'a\u001b\u009b\u202e\u2028\n"é' };
    const line = jsonLine(value);
    expect(line).toMatch(/^[\x20-\x7eé]+$/);
    expect(JSON.parse(line)).toEqual(value);
  });

  test('does not break the columns of a table', () => {
    expect(
      table(
        ['ID', 'KEY'],
        [
          ['1', 'a\nb'],
          ['22', '😀'],
        ],
      ),
    ).toEqual(['ID  KEY', '1   a\\nb', '22  😀']);
    expect(
      fields(
        [
          ['a', 'x'],
          ['longer', 'y'],
          ['none', null],
        ],
        ' ',
      ),
    ).toEqual([' a       x', ' longer  y']);
  });
});

describe('figures', () => {
  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [200 * MiB, '200.0 MiB'],
    [5 * 1024 * 1024 * MiB, '5.0 TiB'],
  ])('%d bytes are %s', (count, text) => expect(bytes(count)).toBe(text));

  test('both figures have the unit of the whole', () => {
    expect(bytesOf(512 * 1024, 10 * MiB)).toBe('0.5 of 10.0 MiB');
    expect(bytesOf(512 * 1024, null)).toBe('512.0 KiB');
  });

  test.each([
    [0.4, '0 s'],
    [59, '59 s'],
    [60, '1 min'],
    [125, '2 min 5 s'],
    [11_520, '3 h 12 min'],
    [187_200, '2 d 4 h'],
  ])('%d seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text));
});

describe('progress', () => {
  const half: UploadProgress = {
    ...{ bytesDone: 512 * MiB, bytesTotal: 1024 * MiB, bytesSent: 512 * MiB, partsDone: 64, partsTotal: 128 },
  };

  test('says what is done, how fast, and how long it still takes', () => {
    const line = progressLine('UPLOADING', half, 256 * MiB);
    expect(line).toBe(' 50%  0.5 of 1.0 GiB  256.0 MiB/s  64 of 128 parts  2 s left');
  });

  test('says no time and no percentage that it cannot know', () => {
    const unknown = { ...half, bytesTotal: null, partsTotal: null };
    expect(progressLine('UPLOADING', unknown, 1024)).toBe('512.0 MiB  1.0 KiB/s  64 parts');
    expect(progressLine('UPLOADING', half, 0)).toBe(' 50%  0.5 of 1.0 GiB  64 of 128 parts');
    expect(progressLine('PAUSED', half, 100)).toBe(' 50%  paused  0.5 of 1.0 GiB');
  });

  test.each([20, 40, 60, 79, 200])('the bar stays within %d columns', (width) => {
    expect(bar('UPLOADING', half, 256 * MiB, width).length).toBeLessThanOrEqual(width);
  });

  test('the bar shows the share', () => {
    const [, filled, empty] = /\[(#+)(-+)\]/.exec(bar('UPLOADING', half, undefined, 200)) ?? [];
    expect(filled?.length).toBe(15);
    expect(empty?.length).toBe(15);
  });

  test('speed is that of the last seconds, not of the whole', () => {
    let now = 0;
    const speed = new Speed(() => now);
    expect(speed.next(0)).toBeUndefined();
    for (now = 500; now <= 60_000; now += 500) speed.next(now);
    let rate: number | undefined;
    for (; now <= 67_000; now += 500) rate = speed.next(60_000 + (now - 60_000) * 10);
    expect(rate).toBeCloseTo(10_000, -2);
  });
});
