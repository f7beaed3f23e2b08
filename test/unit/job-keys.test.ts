import { describe, expect, it } from 'vitest';
import { checkKeyTemplate, keyOf } from '../../src/core/job-keys.js';

const AT = String(BigInt(Date.UTC(2024, 1, 3, 23, 59)) * 1_000_000n);
const key = (path: string, keyTemplate?: string, prefix = '', mtimeNs: string | undefined = AT): string =>
  keyOf({ bucket: 'b', prefix, ...(keyTemplate === undefined ? {} : { keyTemplate }) }, path, mtimeNs);

describe('keys', () => {
  it('are the prefix and the path', () => {
    expect(key('a/b c.txt', undefined, 'x/')).toBe('x/a/b c.txt');
    expect(key('a', undefined, 'x')).toBe('xa');
    expect(key('{name}')).toBe('{name}');
  });

  it.each([
    ['{path}', 'photos/2024/cat.tar.gz', 'photos/2024/cat.tar.gz'],
    ['{dir}|{name}|{stem}|{ext}', 'photos/2024/cat.tar.gz', 'photos/2024/|cat.tar.gz|cat.tar|.gz'],
    ['{dir}|{name}|{stem}|{ext}', 'x', '|x|x|'],
    ['{dir}|{name}|{stem}|{ext}', 'a.b/.profile', 'a.b/|.profile|.profile|'],
    ['{yyyy}/{mm}/{dd}/{name}', 'x', '2024/02/03/x'],
    ['{{{name}}}', 'x', '{x}'],
    ['{{name}}', 'x', '{name}'],
    ['{name}', '{path}', '{path}'],
    ['{name}', '🚢/ü', 'ü'],
  ])('%s of %s', (template, path, expected) => {
    expect(key(path, template)).toBe(expected);
  });

  it('of an empty folder’s marker end in /', () => {
    expect(key('a/b/')).toBe('a/b/');
    expect(key('a/b/', '{name}')).toBe('b/');
    expect(key('a/b/', '{dir}x-{name}')).toBe('a/x-b/');
  });

  it.each(['{', 'a}', '{nome}', '{path', '{ path }', '', '{{path}'])('refuse the template %j', (template) => {
    expect(() => checkKeyTemplate(template)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
  });

  it('need a time for a date, and may not be empty', () => {
    const dated = { bucket: 'b', prefix: '', keyTemplate: '{yyyy}' };
    expect(() => keyOf(dated, 'x')).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
    expect(() => key('x', '{ext}')).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
  });

  it('know dates before 1970 and after 9999', () => {
    expect(key('x', '{yyyy}-{mm}-{dd}', '', '-1')).toBe('1969-12-31');
    expect(key('x', '{yyyy}-{mm}-{dd}', '', '253402300800000000000')).toBe('+010000-01-01');
  });

  it('have at most 1,024 bytes, prefix included', () => {
    expect(key('ü'.repeat(511), undefined, 'p/')).toHaveLength(513);
    expect(() => key('ü'.repeat(511), undefined, 'p/-')).toThrow(
      expect.objectContaining({
        code: 'KeyTooLong',
        message: expect.stringContaining('1025 bytes') as string,
      }),
    );
    expect(key('a'.repeat(1024))).toHaveLength(1024);
    expect(() => key('a'.repeat(1025))).toThrow(expect.objectContaining({ code: 'KeyTooLong' }));
  });
});
