import { describe, expect, it } from 'vitest';
import { MAX_KEY_BYTES } from '../../src/core/limits.js';
import type { UploadObjectInput, UploadOptions } from '../../src/core/uploads.js';
import { validateUpload } from '../../src/core/validate.js';

const input = (
  change: { key?: string; bucket?: string; id?: string; options?: UploadOptions } = {},
): UploadObjectInput => ({
  id: change.id ?? 'an-id',
  source: { kind: 'file', root: 'r', path: 'p' },
  destination: { bucket: change.bucket ?? 'a-bucket', key: change.key ?? 'k' },
  options: change.options ?? {},
});

describe('validateUpload', () => {
  it.each(['k', ' a b +&?#%', '\u{1F600}', 'line\nbreak', 'e\u0301', '/leading', 'a/../b', 'é'.repeat(512)])(
    'takes the key %j',
    (key) => {
      expect(() => validateUpload(input({ key }))).not.toThrow();
    },
  );

  it.each(['k'.repeat(MAX_KEY_BYTES + 1), 'é'.repeat(512) + 'k', '\u{1F600}'.repeat(257)])(
    'finds a key too long',
    (key) => {
      expect(() => validateUpload(input({ key }))).toThrow(expect.objectContaining({ code: 'KeyTooLong' }));
    },
  );

  it.each([
    ['an empty key', { key: '' }],
    ['half a surrogate pair', { key: 'a\ud800b' }],
    ['a bucket with capitals', { bucket: 'Bucket' }],
    ['an id with a slash', { id: 'a/b' }],
    ['a part under 5 MiB', { options: { partSize: 1 } }],
    ['no concurrency', { options: { concurrency: 0 } }],
    ['our own metadata', { options: { metadata: { 'longshore-nonce': 'x' } } }],
    ['metadata outside ASCII', { options: { metadata: { a: 'é' } } }],
    ['too much metadata', { options: { metadata: { a: 'x'.repeat(2048) } } }],
    [
      'eleven tags',
      { options: { tags: Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`t${i}`, ''])) } },
    ],
    ['full verification without checksums', { options: { demand: 'full', checksum: false } }],
    ['a negative size', { options: { expectedSize: -1 } }],
  ] as const)('refuses %s', (_what, change) => {
    expect(() => validateUpload(input(change))).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
  });
});
