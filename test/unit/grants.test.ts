import { describe, expect, test } from 'vitest';
import { formatGrant, isGranted, isUnlimited, parseGrant } from '../../src/core/grants.js';

describe('a grant is written as', () => {
  test.each([
    ['bucket', { bucket: 'bucket', prefix: '' }],
    ['bucket/', { bucket: 'bucket', prefix: '' }],
    ['bucket/team/a/', { bucket: 'bucket', prefix: 'team/a/' }],
    ['bucket//odd', { bucket: 'bucket', prefix: '/odd' }],
    ['*', { bucket: '*', prefix: '' }],
    ['*/shared/', { bucket: '*', prefix: 'shared/' }],
  ])('%s', (text, grant) => {
    expect(parseGrant(text)).toEqual(grant);
    expect(parseGrant(formatGrant(grant))).toEqual(grant);
  });

  test.each([
    '',
    '/',
    '/prefix',
    'Bucket',
    'b',
    's3://bucket/x',
    '**',
    'bucket/\0',
    `bucket/${'p'.repeat(1025)}`,
  ])('never as %j', (text) =>
    expect(() => parseGrant(text)).toThrow(expect.objectContaining({ code: 'InvalidInput' })),
  );
});

describe('a grant holds', () => {
  const grants = [parseGrant('logs'), parseGrant('data/team/'), parseGrant('*/shared/')];

  test.each([
    [{ bucket: 'logs', key: 'anything' }, true],
    [{ bucket: 'logs', prefix: '' }, true],
    [{ bucket: 'logs2', key: 'anything' }, false],
    [{ bucket: 'data', key: 'team/a' }, true],
    [{ bucket: 'data', key: 'team' }, false],
    [{ bucket: 'data', key: 'teams/a' }, false],
    [{ bucket: 'data', prefix: 'team/a/' }, true],
    [{ bucket: 'data', prefix: 'team' }, false],
    [{ bucket: 'data', prefix: '' }, false],
    [{ bucket: 'other', key: 'shared/x' }, true],
    [{ bucket: '*', key: 'team/x' }, false],
  ])('%j: %s', (target, granted) => expect(isGranted(grants, target)).toBe(granted));

  test('nothing, when there is none', () => expect(isGranted([], { bucket: 'logs', key: 'k' })).toBe(false));
});

test('only every bucket, whole, is without limits', () => {
  expect(isUnlimited([parseGrant('*')])).toBe(true);
  expect(isUnlimited([parseGrant('bucket'), parseGrant('*/a')])).toBe(false);
});
