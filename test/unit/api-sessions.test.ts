/** What the API's sessions decide without a server: chunks that are missing, checksums that are given, who goes first. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { destinationOf, safeName } from '../../src/api/sessions/ask.js';
import { BodyDigest, checksOf } from '../../src/api/sessions/checks.js';
import { Gate } from '../../src/api/sessions/gate.js';
import { Lanes } from '../../src/api/sessions/lanes.js';
import { gapsOf, incompleteBy, rangesOf } from '../../src/api/sessions/missing.js';
import { keyLifeMs } from '../../src/api/sessions/rules.js';
import { Signs } from '../../src/api/sessions/signs.js';
import { MAX_PARKED_MS } from '../../src/core/limits.js';
import type { SessionRow } from '../../src/infra/catalog/sessions.js';
import type { SessionPart } from '../../src/infra/catalog/session-parts.js';
import { loadConfig } from '../../src/infra/config.js';

const live = (): AbortSignal => new AbortController().signal;
const parts = (...of: [number, number][]): SessionPart[] =>
  of.map(([partNumber, size]) => ({ partNumber, size, etag: '"e"', crc32: null, vouched: false, claim: 1 }));

describe('runs of chunks', () => {
  it.each([
    [[], 3, [[0, 2]], 3],
    [[0, 1, 2], 3, [], 0],
    [
      [1],
      3,
      [
        [0, 0],
        [2, 2],
      ],
      2,
    ],
    [
      [0, 1, 4, 5, 9],
      8,
      [
        [2, 3],
        [6, 7],
      ],
      4,
    ],
    [[2, 3], 3, [[0, 1]], 2],
  ])('%j of %i leave %j', (chunks, total, ranges, count) => {
    expect(gapsOf(rangesOf(chunks), total)).toEqual({ ranges, count });
  });
});

describe('what is seen before anything is asked of S3', () => {
  const row = { id: 's', chunkSize: 10, expectedSize: 25 };
  it('is nothing when all is there', () => {
    expect(incompleteBy(parts([1, 10], [2, 10], [3, 5]), row, {})).toBeUndefined();
  });
  it('names at most a hundred chunks, and how many there are', () => {
    const found = incompleteBy(parts([1, 10]), { ...row, expectedSize: 5000 }, {});
    expect(found).toMatchObject({ missingCount: 499, surplus: [] });
    expect(found?.missing).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
  });
  it('asks again for a chunk that is too short to be followed by another', () => {
    const unknown = { ...row, expectedSize: null };
    expect(incompleteBy(parts([1, 7], [2, 10]), unknown, {})?.missing).toEqual([0]);
    expect(incompleteBy(parts([1, 10], [2, 7]), unknown, {})).toBeUndefined();
    expect(incompleteBy(parts([1, 10], [2, 7]), unknown, { size: 30 })?.missing).toEqual([1, 2]);
  });
  it('names what lies beyond the end', () => {
    expect(
      incompleteBy(parts([1, 10], [2, 10]), { ...row, expectedSize: null }, { chunks: 1 })?.surplus,
    ).toEqual([1]);
  });
  it('refuses another size than was announced', () => {
    expect(() => incompleteBy([], row, { size: 26 })).toThrow(
      expect.objectContaining({ code: 'SizeMismatch' }),
    );
  });
});

describe('checksums of a body', () => {
  const digest = (name: string, text = 'abc') => createHash(name).update(text).digest('base64');
  it('are read from every header that has one', () => {
    const headers = {
      'content-md5': digest('md5'),
      'content-digest': `sha-256=:${digest('sha256')}:, md5=:${digest('md5')}:, unixsum=:AAAA:`,
      'x-amz-checksum-sha1': digest('sha1'),
    };
    expect(checksOf(headers)).toEqual({ md5: digest('md5'), sha256: digest('sha256'), sha1: digest('sha1') });
  });
  it.each([
    { 'content-md5': digest('sha1') },
    { 'content-md5': 'x' },
    { 'content-md5': digest('md5'), 'content-digest': `md5=:${digest('md5', 'x')}:` },
    { 'content-digest': 'sha-256' },
    { 'x-amz-checksum-crc64nvme': 'AAAAAAAAAAA=' },
  ])('are refused where they are none: %j', (headers) => {
    expect(() => checksOf(headers)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
  });
  it.each(['md5', 'sha1', 'sha256', 'sha512'])('of kind %s are held against the bytes', (name) => {
    const held = (of: string) => {
      const body = new BodyDigest({ [name]: digest(name, of) });
      for (const piece of ['a', 'bc']) body.update(Buffer.from(piece));
      return () => body.verify('AAAAAA==');
    };
    expect(held('abc')).not.toThrow();
    expect(held('abd')).toThrow(expect.objectContaining({ code: 'ChunkDamaged' }));
  });
  it('of CRC32C are those of the field', () => {
    const nine = new BodyDigest({ crc32c: Buffer.from('e3069283', 'hex').toString('base64') });
    nine.update(Buffer.from('123456789'));
    expect(() => nine.verify('')).not.toThrow();
  });
});

describe('who goes first', () => {
  it('lets so many through at once, in order, and forgets who gave up', async () => {
    const gate = new Gate(1);
    const order: number[] = [];
    let open: () => void = () => undefined;
    const first = gate.run(live(), () => new Promise<void>((resolve) => (open = resolve)));
    const gone = new AbortController();
    const second = gate.run(gone.signal, () => Promise.resolve(order.push(2)));
    const third = gate.run(live(), () => Promise.resolve(order.push(3)));
    gone.abort(new RangeError('gone'));
    await expect(second).rejects.toThrow('gone');
    expect(order).toEqual([]);
    open();
    await Promise.all([first, third]);
    expect(order).toEqual([3]);
  });

  it('stops the older of two requests for a part, and waits for its end', async () => {
    const lanes = new Lanes(10);
    const said: string[] = [];
    let began: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (began = resolve));
    const older = lanes.run({ session: 's', part: 1 }, live(), async (signal) => {
      began();
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      await Promise.resolve();
      said.push('older ended');
      throw signal.reason as Error;
    });
    await begun;
    const newer = lanes.run({ session: 's', part: 1 }, live(), () =>
      Promise.resolve(said.push('newer began')),
    );
    const other = lanes.run({ session: 's', part: 2 }, live(), () => Promise.resolve('other'));
    await expect(older).rejects.toMatchObject({ code: 'ChunkSuperseded' });
    await expect(other).resolves.toBe('other');
    await newer;
    expect(said).toEqual(['older ended', 'newer began']);
  });
});

describe('a customer’s key', () => {
  it('outlives what the upload may be parked, however short its session', async () => {
    const lives: number[] = [];
    const row = { id: 's', ttlMs: 60_000, encryption: { type: 'SSE_C', keyRef: 'ref', keyMd5: 'md5' } };
    const deps = {
      db: { query: () => Promise.resolve({ rows: [], rowCount: 1 }) },
      keys: { extend: (_ref: string, ttlMs: number) => Promise.resolve(void lives.push(ttlMs)) },
    };
    await new Signs(deps as unknown as ConstructorParameters<typeof Signs>[0]).touch(row as SessionRow);
    expect(lives).toEqual([2 * MAX_PARKED_MS]);
    expect(keyLifeMs(MAX_PARKED_MS + 1)).toBe(2 * MAX_PARKED_MS + 2);
  });
});

describe('where a session goes', () => {
  const config = (env: Record<string, string> = {}) =>
    loadConfig({ env: { LONGSHORE_DATA_DIR: '/nowhere', ...env } });
  const ask = { id: 'i', name: 'a/b\\c.pb' };
  it('is a connector’s folder, a template, or what was asked for', () => {
    const set = config({ LONGSHORE_SESSION_BUCKET: 'bay' });
    expect(destinationOf({ ...ask, connectorId: 'crane' }, 'n', undefined, set)).toEqual({
      ...{ bucket: 'bay', key: 'connectors/crane/n.pb' },
    });
    expect(destinationOf(ask, 'n', undefined, set).key).toBe('uploads/n/c.pb');
    const template = config({ LONGSHORE_SESSION_BUCKET: 'bay', LONGSHORE_SESSION_KEY: 'in/{upload_id}' });
    expect(destinationOf(ask, 'n', undefined, template).key).toBe('in/i');
    expect(destinationOf({ ...ask, bucket: 'own', key: 'k' }, 'n', undefined, set)).toEqual({
      bucket: 'own',
      key: 'k',
    });
  });
  it('has to be said where nothing is configured', () => {
    expect(() => destinationOf(ask, 'n', undefined, config())).toThrow(
      expect.objectContaining({ code: 'InvalidInput' }),
    );
    expect(() => config({ LONGSHORE_SESSION_KEY: 'in/{name}' })).toThrow(/LONGSHORE_SESSION_KEY/);
  });
  it.each([
    ['../../etc/passwd', 'passwd'],
    ['..', 'unnamed'],
    ['', 'unnamed'],
    ['a\u0000\nb', 'ab'],
    ['über.pb', 'über.pb'],
  ])('keeps of the name %j the last step: %j', (name, safe) => {
    expect(safeName(name)).toBe(safe);
  });
});
