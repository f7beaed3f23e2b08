import { describe, expect, it } from 'vitest';
import { parseDestination, parseSource } from '../../src/client/source-spec.js';

const roots = { data: '/srv/data', deep: '/srv/data/deep', other: '/mnt/other/' };
const options = { roots, cwd: '/srv/data/sub' };
const codeOf = (step: () => unknown): Error & { code: string; hint: string } => {
  try {
    step();
  } catch (error) {
    return error as Error & { code: string; hint: string };
  }
  throw new Error('nothing was thrown');
};

describe('parseSource: paths', () => {
  it.each([
    ['a.txt', 'data', 'sub/a.txt'],
    ['./a b+&?#%41', 'data', 'sub/a b+&?#%41'],
    ['../x', 'data', 'x'],
    ['/srv/data/deep/x', 'deep', 'x'],
    ['/srv/data/deeper/x', 'data', 'deeper/x'],
    ['/mnt/other/x/', 'other', 'x'],
    ['c:/x', 'data', 'sub/c:/x'],
  ])('%s → %s:%s', (text, root, path) => {
    expect(parseSource(text, options)).toEqual({ source: { kind: 'file', root, path } });
  });

  it('takes the whole host when it is a root', () => {
    const host = { roots: { host: '/' }, cwd: '/home/me' };
    expect(parseSource('f', host).source).toEqual({ kind: 'file', root: 'host', path: 'home/me/f' });
    expect(codeOf(() => parseSource('/', host)).code).toBe('InvalidInput');
  });

  it('names the roots when the path is under none', () => {
    const failure = codeOf(() => parseSource('../../datax/f', options));
    expect(failure.code).toBe('InvalidInput');
    expect(failure.message).toContain('data (/srv/data), deep (/srv/data/deep), other (/mnt/other/)');
    const none = codeOf(() => parseSource('f', { roots: {}, cwd: '/' }));
    expect(none.message).toContain('none is configured');
    expect(none.hint).toContain('LONGSHORE_ROOTS');
  });

  it.each([
    '',
    'a\0b',
    '\ud800',
    '/srv/data',
    'ftp://x/y',
    'file:///srv/data/x',
    's3://bucket',
    's3://b/',
    's3:///k',
  ])('refuses %j', (text) => expect(codeOf(() => parseSource(text, options)).code).toBe('InvalidInput'));
});

describe('parseSource: addresses', () => {
  it('keeps a plain address, without its fragment', () => {
    expect(parseSource('https://Example.com/a%20b#part', options)).toEqual({
      source: { kind: 'url', url: 'https://example.com/a%20b' },
    });
  });

  it('keeps secrets apart', () => {
    expect(parseSource('HTTPS://me:pw@example.com:8443/f?sig=abc#x', options)).toEqual({
      source: { kind: 'url', url: 'https://example.com:8443/f' },
      secretUrl: 'https://me:pw@example.com:8443/f?sig=abc',
    });
    expect(parseSource('http://example.com?sig=abc', options).source).toEqual({
      kind: 'url',
      url: 'http://example.com/',
    });
  });

  it('shows no part of an address that it cannot read', () => {
    const failure = codeOf(() => parseSource('https://me:hunter2@exa mple/?sig=abc', options));
    expect(failure.code).toBe('InvalidInput');
    expect(JSON.stringify([failure, failure.message, failure.stack])).not.toMatch(/hunter2|abc/);
  });
});

describe('parseSource: objects', () => {
  it('takes the key as it stands', () => {
    expect(parseSource('s3://bucket/a//b?c#d%20e/', options).source).toEqual({
      kind: 'object',
      bucket: 'bucket',
      key: 'a//b?c#d%20e/',
    });
    expect(parseSource('s3://bucket/k', { ...options, store: 'old' }).source).toMatchObject({ store: 'old' });
  });
});

describe('parseDestination', () => {
  const file = { kind: 'file', root: 'data', path: 'x/name.bin' } as const;

  it.each([
    ['s3://bucket/a/b', 'a/b'],
    ['s3://bucket', 'name.bin'],
    ['s3://bucket/', 'name.bin'],
    ['s3://bucket/a/', 'a/name.bin'],
    ['s3://bucket/😀 +&?#\n', '😀 +&?#\n'],
  ])('%j → %j', (text, key) => {
    expect(parseDestination(text, file)).toEqual({ bucket: 'bucket', key });
  });

  it('takes the last name of an address or an object', () => {
    const key = (url: string): string => parseDestination('s3://bucket/', { kind: 'url', url }).key;
    expect(key('https://example.com/x/a%20b.iso')).toBe('a b.iso');
    expect(key('https://example.com/x/100%')).toBe('100%');
    expect(key('https://example.com/x/a%2Fb')).toBe('a%2Fb');
    expect(codeOf(() => key('https://example.com/x/')).code).toBe('InvalidInput');
    expect(parseDestination('s3://bucket/', { kind: 'object', bucket: 'b', key: 'p/q%20' }).key).toBe('q%20');
    expect(codeOf(() => parseDestination('s3://bucket/')).code).toBe('InvalidInput');
  });

  it('counts the key in bytes of UTF-8', () => {
    expect(parseDestination(`s3://bucket/${'é'.repeat(512)}`).key).toHaveLength(512);
    expect(codeOf(() => parseDestination(`s3://bucket/${'é'.repeat(512)}x`)).code).toBe('KeyTooLong');
    expect(codeOf(() => parseDestination(`s3://bucket/${'x'.repeat(1016)}/`, file)).code).toBe('KeyTooLong');
  });

  it.each([
    'bucket/key',
    's3:/bucket/key',
    's3://',
    's3://b/k',
    's3://-bad-/k',
    's3://a b/k',
    's3://bucket/\ud800',
  ])('refuses %j', (text) => expect(codeOf(() => parseDestination(text, file)).code).toBe('InvalidInput'));
});
