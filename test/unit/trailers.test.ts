/** What is concluded of checksums after a body, and for how long. */
import { describe, expect, it } from 'vitest';
import { LongshoreError } from '../../src/core/errors.js';
import { Trailers } from '../../src/infra/s3/trailers.js';

const SITE = { op: 'UploadPart', bucket: 'b', key: 'k' };
const refused = new LongshoreError('NotSupported', 'no', { op: 'UploadPart' });
const MINUTES = 60_000;

const part = (trailers: Trailers, call: () => Promise<{ crc32?: string }>, there = 0): Promise<unknown> =>
  trailers.part(SITE, 1, call, { sent: () => 'crc', size: () => Promise.resolve(there) });

describe('a server that knows no trailers', () => {
  it.each([
    ['refuses them', () => Promise.reject(refused)],
    ['keeps their frames', () => Promise.resolve({})],
  ])('and %s is doubted again after ten minutes', async (_what, call) => {
    let now = 0;
    const trailers = new Trailers('unknown', () => now);
    await expect(part(trailers, call)).rejects.toMatchObject({ code: 'S3Unavailable' });
    await trailers.without(() => Promise.resolve());
    expect(trailers.standing).toBe('none');
    now = 9 * MINUTES;
    expect(trailers.standing).toBe('none');
    now = 10 * MINUTES;
    expect(trailers.standing).toBe('doubted');
    await expect(part(trailers, call)).rejects.toMatchObject({ code: 'S3Unavailable' });
    await trailers.without(() => Promise.resolve());
    expect(trailers.standing).toBe('none');
    now = 20 * MINUTES;
    await part(trailers, () => Promise.resolve({ crc32: 'crc' }));
    expect(trailers.standing).toBe('shown');
  });

  it('is never doubted where bodies may not pass unsigned', () => {
    let now = 0;
    const trailers = new Trailers('none', () => now);
    now = Number.MAX_SAFE_INTEGER;
    expect(trailers.standing).toBe('none');
  });
});

describe('a CRC32 that goes ahead', () => {
  const ahead = (trailers: Trailers, call: () => Promise<{ crc32?: string }>): Promise<unknown> =>
    trailers.promised(SITE, 'crc', call);

  it('is for servers that named the last one', async () => {
    const trailers = new Trailers('unknown');
    expect(trailers.checks).toBe(false);
    await part(trailers, () => Promise.resolve({}), 1);
    expect(trailers).toMatchObject({ standing: 'shown', checks: false });
    await part(trailers, () => Promise.resolve({ crc32: 'crc' }));
    expect(trailers.checks).toBe(true);
    await ahead(trailers, () => Promise.resolve({ crc32: 'crc' }));
    expect(trailers.checks).toBe(true);
  });

  it.each([
    ['not named', () => Promise.resolve({}), 'BadDigest'],
    ['another', () => Promise.resolve({ crc32: 'other' }), 'BadDigest'],
    ['refused', () => Promise.reject(refused), 'NotSupported'],
  ])('and is %s is not tried again for ten minutes', async (_what, call, code) => {
    let now = 0;
    const trailers = new Trailers('unknown', () => now);
    await part(trailers, () => Promise.resolve({ crc32: 'crc' }));
    await expect(ahead(trailers, call)).rejects.toMatchObject({ code });
    await part(trailers, () => Promise.resolve({ crc32: 'crc' }));
    expect(trailers.checks).toBe(false);
    now = 10 * MINUTES;
    expect(trailers.checks).toBe(true);
  });
});
