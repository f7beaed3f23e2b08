/** What a job's definition may say. */
import { describe, expect, it } from 'vitest';
import type { JobDefinition } from '../../src/core/jobs.js';
import {
  validateInterval,
  validateJob,
  validateJobInput,
  validateLimits,
} from '../../src/core/validate-jobs.js';

const GOOD: JobDefinition = {
  source: { root: 'data', path: 'photos/2024' },
  sourceFolder: '/data/photos/2024',
  destination: { bucket: 'bucket', prefix: 'in/', keyTemplate: '{yyyy}/{path}' },
  filter: {
    include: ['**/*.jpg'],
    exclude: ['tmp/**'],
    minSize: 0,
    maxSize: 10,
    minAge: 1,
    symlinks: 'follow',
  },
  objects: { metadata: { a: 'b' } },
  monitor: { enabled: true, interval: 60, stability: 0 },
  compare: 'checksum',
  verify: true,
  deletions: { maxShare: 0.5 },
};

const refused = (code: string): Error => expect.objectContaining({ code }) as Error;

describe('validateJob', () => {
  it('takes what makes sense', () => {
    expect(() => validateJob(GOOD, 'id')).not.toThrow();
    expect(() => validateJob({ ...GOOD, source: { root: 'data', path: '' } }, 'id')).not.toThrow();
  });

  it.each<[string, Partial<JobDefinition>]>([
    ['a folder above its root', { source: { root: 'data', path: 'a/../../b' } }],
    ['an absolute folder', { source: { root: 'data', path: '/a' } }],
    ['a slash at the end', { source: { root: 'data', path: 'a/' } }],
    ['NUL in the folder', { source: { root: 'data', path: 'a\0' } }],
    ['no root', { source: { root: '', path: 'a' } }],
    ['no bucket', { destination: { bucket: 'B', prefix: '' } }],
    ['half a character', { destination: { bucket: 'bucket', prefix: '\ud800' } }],
    ['an unknown variable', { destination: { bucket: 'bucket', prefix: '', keyTemplate: '{nope}' } }],
    ['an empty glob', { filter: { include: [''] } }],
    ['a glob without end', { filter: { exclude: ['x'.repeat(1025)] } }],
    ['too many globs', { filter: { include: Array<string>(101).fill('*') } }],
    ['no size between', { filter: { minSize: 2, maxSize: 1 } }],
    ['no age between', { filter: { minAge: 2, maxAge: 1 } }],
    ['half a byte', { filter: { minSize: 0.5 } }],
    ['another way with links', { filter: { symlinks: 'copy' as 'skip' } }],
    ['metadata of ours', { objects: { metadata: { 'longshore-x': '1' } } }],
    ['no interval', { monitor: { enabled: true, interval: 0 } }],
    ['a negative stability', { monitor: { enabled: true, stability: -1 } }],
    ['another comparison', { compare: 'size' as 'mtime' }],
    ['more than all', { deletions: { maxShare: 1.1 } }],
    ['no share', { deletions: { maxShare: Number.NaN } }],
  ])('refuses %s', (_what, change) => {
    expect(() => validateJob({ ...GOOD, ...change }, 'id')).toThrow(refused('InvalidInput'));
  });

  const filed = (keyTemplate: string): JobDefinition => ({
    ...GOOD,
    destination: { bucket: 'bucket', prefix: '', keyTemplate },
  });

  it.each(['{name}', '{yyyy}/{name}', '{dir}{stem}', '{name}-{dir}', '{dir}{ext}{stem}', '{{path}}'])(
    'refuses deletions where files may share the key %j',
    (template) => {
      expect(() => validateJob(filed(template), 'id')).toThrow(
        expect.objectContaining({ code: 'InvalidInput', hint: expect.stringContaining('{path}') as string }),
      );
      const { deletions: _, ...without } = filed(template);
      expect(() => validateJob(without, 'id')).not.toThrow();
    },
  );

  it.each(['{path}', '{yyyy}/{path}', '{dir}{name}', '{dir}{yyyy}-{name}', '{dir}{stem}{ext}'])(
    'takes deletions with the key template %j',
    (template) => expect(() => validateJob(filed(template), 'id')).not.toThrow(),
  );

  it('refuses a prefix that leaves no room for a name', () => {
    const fits = { ...GOOD, destination: { bucket: 'bucket', prefix: 'ü'.repeat(511) } };
    expect(() => validateJob(fits, 'id')).not.toThrow();
    const long = { ...GOOD, destination: { bucket: 'bucket', prefix: 'ü'.repeat(512) } };
    expect(() => validateJob(long, 'id')).toThrow(refused('KeyTooLong'));
  });

  it.each(['', 'a b', '-a', 'a/b', 'x'.repeat(201)])('refuses the id %j', (id) => {
    expect(() => validateJob(GOOD, id)).toThrow(refused('InvalidInput'));
  });
});

describe('validateJobInput', () => {
  it('needs a definition for the first run alone', () => {
    expect(() => validateJobInput({ id: 'a', mode: 'first' })).toThrow(refused('InvalidInput'));
    expect(() => validateJobInput({ id: 'a', mode: 'sync' })).not.toThrow();
    expect(() => validateJobInput({ id: 'a', mode: 'again' as 'sync' })).toThrow(refused('InvalidInput'));
  });
});

describe('limits and intervals', () => {
  it('may be lifted, and must not be nothing', () => {
    expect(() => validateLimits({ bandwidth: null, concurrency: 3 })).not.toThrow();
    expect(() => validateLimits({ bandwidth: 0 })).toThrow(refused('InvalidInput'));
    expect(() => validateLimits({ concurrency: 1.5 })).toThrow(refused('InvalidInput'));
    expect(() => validateInterval(1)).not.toThrow();
    expect(() => validateInterval(0.5)).toThrow(refused('InvalidInput'));
  });
});
