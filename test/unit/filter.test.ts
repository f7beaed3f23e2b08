import { describe, expect, it } from 'vitest';
import { createGlob } from '../../src/core/globs.js';
import type { JobFilter } from '../../src/core/jobs.js';
import { createFilter } from '../../src/infra/sources/filter.js';

describe('globs', () => {
  it.each([
    ['*.txt', 'a.txt', true],
    ['*.txt', '.txt', true],
    ['*.txt', 'a/b.txt', false],
    ['**/*.txt', 'b.txt', true],
    ['**/*.txt', 'a/.h/b.txt', true],
    ['**/*.txt', 'a/b.txtx', false],
    ['**', 'a\nb/c', true],
    ['a/**', 'a/b/c', true],
    ['a/**', 'a', false],
    ['a/', 'a/b', true],
    ['a/**/b', 'a/b', true],
    ['a/**/b', 'a/x/y/b', true],
    ['a/**/b', 'a/x/y/c', false],
    ['**/x/**', 'q/x/y', true],
    ['**/x/**', 'q/x', false],
    ['**/a/**/b', 'a/b/a/c/b', true],
    ['a**b', 'axxb', true],
    ['a**b', 'a/b', false],
    ['./a', 'a', true],
    ['?', '😀', true],
    ['a?b', 'a/b', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[]a]', ']', true],
    ['[a-]', '-', true],
    ['[\\]]', ']', true],
    ['*a*b*c*', 'xxaxxbxxcxx', true],
    ['*a*b*c*', 'xxaxxcxxbxx', false],
    ['*ab', 'aab', true],
    ['*', 'a\nb', true],
    ['{a,b/c}/*.t', 'b/c/d.t', true],
    ['{a,b{1,2}}x', 'b2x', true],
    ['x{,y}', 'x', true],
    ['\\{a,b\\}', '{a,b}', true],
    ['\\*', '*', true],
    ['\\*', 'x', false],
    ['!a', '!a', true],
    ['+(a)|b', '+(a)|b', true],
    ['a.b', 'axb', false],
    ['línea', 'li\u0301nea', false],
  ])('%j on %j: %s', (pattern, path, expected) => {
    expect(createGlob(pattern).matches(path)).toBe(expected);
  });

  it.each(['', '/a', 'a//b', 'a/../b', 'a[', '[]', '{a', 'a\\', 'x'.repeat(1025), '{a,b}'.repeat(9)])(
    'refuses %j',
    (pattern) => {
      expect(() => createGlob(pattern)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
    },
  );

  it('takes no longer for patterns made to take long', () => {
    const name = 'a'.repeat(255);
    const deep = Array.from({ length: 400 }, () => 'a').join('/');
    const began = performance.now();
    expect(createGlob(`${'*a'.repeat(100)}b`).matches(name)).toBe(false);
    expect(createGlob(`${'**/a/'.repeat(100)}b`).matches(deep)).toBe(false);
    expect(performance.now() - began).toBeLessThan(1_000);
  });

  it.each([
    ['a/b/*.txt', '', true],
    ['a/b/*.txt', 'a', true],
    ['a/b/*.txt', 'a/b', true],
    ['a/b/*.txt', 'a/c', false],
    ['a/b/*.txt', 'a/b/c', false],
    ['*.txt', 'a', false],
    ['**/*.txt', 'a/b', true],
    ['a/**', 'a/b/c', true],
    ['{a,b}/x/**', 'b', true],
    ['{a,b}/x/**', 'c', false],
  ])('%j reaches into %j: %s', (pattern, folder, expected) => {
    expect(createGlob(pattern).reaches(folder)).toBe(expected);
  });
});

describe('filters', () => {
  const NOW = 1_700_000_000_000;
  const filter = (given: JobFilter) => createFilter(given, NOW);
  const ago = (seconds: number): bigint => BigInt(NOW - seconds * 1000) * 1_000_000n;

  it('take everything by default', () => {
    expect(filter({}).takes('.a/b')).toBe(true);
    expect(filter({}).enters('.a')).toBe(true);
    expect(filter({}).fits(0, ago(-100))).toBe(true);
  });

  it('take what one include matches and no exclude', () => {
    const { takes, enters } = filter({ include: ['**/*.txt', 'x/*'], exclude: ['**/tmp', 'x/b*'] });
    expect(['a.txt', 'q/a.txt', 'x/a', 'x/b', 'tmp', 'a.md'].filter(takes)).toEqual([
      'a.txt',
      'q/a.txt',
      'x/a',
    ]);
    expect(['q', 'q/tmp', 'x'].filter(enters)).toEqual(['q', 'x']);
  });

  it('do not enter folders in which nothing can match', () => {
    const { enters } = filter({ include: ['photos/2024/**', 'x/*.txt'], exclude: ['photos/2024/raw/**'] });
    const folders = ['photos', 'photos/2024', 'photos/2023', 'x', 'x/y', 'photos/2024/raw', 'photos/2024/b'];
    // The one that holds nothing but what is excluded may be entered.
    expect(folders.filter(enters)).toEqual([
      'photos',
      'photos/2024',
      'x',
      'photos/2024/raw',
      'photos/2024/b',
    ]);
  });

  it('leave hidden files and folders out when told', () => {
    const { takes, enters } = filter({ hidden: false });
    expect(['.a', 'a/.b', 'a/b.c', '...'].filter(takes)).toEqual(['a/b.c']);
    expect(['.a', 'a/.b', 'a'].filter(enters)).toEqual(['a']);
  });

  it('measure size and age, bounds included', () => {
    const { fits } = filter({ minSize: 10, maxSize: 20, minAge: 60, maxAge: 120 });
    expect([9, 10, 20, 21].filter((size) => fits(size, ago(90)))).toEqual([10, 20]);
    expect([59, 60, 120, 121].filter((age) => fits(15, ago(age)))).toEqual([60, 120]);
  });
});
