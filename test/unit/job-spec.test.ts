/** How a folder and its destination become a definition. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineJob } from '../../src/client/job-spec.js';
import { jobFingerprint } from '../../src/infra/temporal/job-runs.js';

let base: string;
let context: { roots: Record<string, string>; cwd: string };

beforeAll(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'longshore-spec-')));
  for (const folder of ['data/photos/2024', 'elsewhere']) mkdirSync(join(base, folder), { recursive: true });
  symlinkSync(join(base, 'data'), join(base, 'link'));
  symlinkSync(join(base, 'elsewhere'), join(base, 'data/out'));
  context = {
    roots: { data: join(base, 'data'), photos: join(base, 'data/photos') },
    cwd: join(base, 'data'),
  };
});
afterAll(() => rmSync(base, { recursive: true }));

const define = (folder: string, destination = 's3://bucket/in') =>
  defineJob({ folder, destination }, context);

describe('the folder', () => {
  it('goes to the deepest root that holds it, and is remembered as it was asked for', () => {
    expect(define('photos/2024')).toMatchObject({
      source: { root: 'photos', path: '2024' },
      sourceFolder: join(base, 'data/photos/2024'),
    });
  });

  it('may be the root itself', () => {
    expect(define('.').source).toEqual({ root: 'data', path: '' });
  });

  it('is found through links, in itself and in the root', () => {
    expect(define(join(base, 'link/photos')).source).toEqual({ root: 'photos', path: '' });
    const linked = { roots: { linked: join(base, 'link') }, cwd: '/' };
    const spec = { folder: join(base, 'data/photos'), destination: 's3://bucket' };
    expect(defineJob(spec, linked).source).toEqual({ root: 'linked', path: 'photos' });
  });

  it.each(['..', '../elsewhere', 'out', '/'])('is refused when %s leads out of every root', (folder) => {
    // What a link hides that leads nowhere is the worker's to refuse.
    if (folder === 'out/none') return;
    expect(() => define(folder)).toThrow(expect.objectContaining({ code: 'SourceOutsideRoot' }) as Error);
  });

  it('may be on the workers’ hosts alone', () => {
    const spec = { folder: '/mnt/none/a', destination: 's3://bucket' };
    expect(defineJob(spec, { roots: { far: '/mnt/none' }, cwd: '/' }).source).toEqual({
      root: 'far',
      path: 'a',
    });
  });

  it('does not stop half-way in a name', () => {
    const spec = { folder: join(base, 'elsewhere'), destination: 's3://bucket' };
    const roots = { short: join(base, 'else') };
    expect(() => defineJob(spec, { roots, cwd: '/' })).toThrow(/short/);
  });

  it.each(['', 'a\0b', '\ud800'])('is refused as %j', (folder) => {
    expect(() => define(folder)).toThrow(expect.objectContaining({ code: 'InvalidInput' }) as Error);
  });
});

describe('the destination', () => {
  it.each([
    ['s3://bucket', ''],
    ['s3://bucket/', ''],
    ['s3://bucket/in', 'in/'],
    ['s3://bucket/in/', 'in/'],
    ['s3://bucket/a b/ü#?', 'a b/ü#?/'],
  ])('%s has the prefix %j', (text, prefix) => {
    expect(define('.', text).destination).toEqual({ bucket: 'bucket', prefix });
  });

  it('is taken as it is when it is given in parts', () => {
    const destination = { bucket: 'bucket', prefix: 'in-' };
    expect(defineJob({ folder: '.', destination, keyTemplate: '{name}' }, context).destination).toEqual({
      ...destination,
      keyTemplate: '{name}',
    });
  });

  it('is refused when it is no bucket', () => {
    expect(() => define('.', 'file://x')).toThrow(expect.objectContaining({ code: 'InvalidInput' }) as Error);
  });
});

describe('the fingerprint', () => {
  it('is that of the job, not of how its folder was spelled or its fields were ordered', () => {
    const one = define('photos');
    const reordered = Object.fromEntries(Object.entries(define(join(base, 'link/photos'))).toReversed());
    expect(jobFingerprint(reordered as unknown as typeof one)).toBe(jobFingerprint(one));
  });

  it('differs with everything else', () => {
    const one = define('photos');
    const others = [
      define('photos/2024'),
      define('photos', 's3://bucket/other'),
      { ...one, verify: true },
      { ...one, filter: { include: ['*.jpg'] } },
    ];
    expect(new Set([one, ...others].map(jobFingerprint)).size).toBe(5);
  });

  it('is the same by whatever key it is asked for, as keys are replaced', () => {
    const one = define('photos');
    expect(jobFingerprint({ ...one, apiKey: 'k' })).toBe(jobFingerprint(one));
  });
});
