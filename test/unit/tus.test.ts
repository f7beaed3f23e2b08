import { createHash } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { BodyReader } from '../../src/api/tus/body.js';
import { Digester, parseChecksum } from '../../src/api/tus/checksum.js';
import { parseConcat } from '../../src/api/tus/concat.js';
import { UploadLocks, type Holder } from '../../src/api/tus/locks.js';
import { askedBy, fileName } from '../../src/api/tus/names.js';
import { Spool } from '../../src/api/tus/spool.js';
import { metadataOf, someBytes } from '../helpers/tus.js';
import { eventually } from '../helpers/wait.js';

describe('names', () => {
  test.each([
    ['film.mp4', 'film.mp4'],
    ['../../etc/passwd', 'passwd'],
    ['C:\\Users\\me\\a b.txt', 'a b.txt'],
    ['..', 'file'],
    ['.', 'file'],
    ['', 'file'],
    ['a/', 'file'],
    ['a\u0000b\nc\u007f', 'a_b_c_'],
    ['käse 🧀', 'käse 🧀'],
  ])('%j is kept as %j', (name, kept) => expect(fileName(name)).toBe(kept));

  test('a long name keeps its extension, and its characters whole', () => {
    const name = fileName(`${'🧀'.repeat(300)}.mp4`);
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200);
    expect(name).toMatch(/^(🧀)+\.mp4$/u);
  });

  test('names of other clients count too; a type that is none is left out', () => {
    expect(askedBy(metadataOf({ name: 'a.bin', type: 'video/mp4' }), 'id')).toEqual({
      name: 'a.bin',
      key: 'tus/id/a.bin',
      contentType: 'video/mp4',
    });
    expect(askedBy(metadataOf({ filetype: 'x y z' }), 'id')).toEqual({ name: 'id', key: 'tus/id/file' });
    expect(askedBy(undefined, 'id', 'tus/partial')).toEqual({ name: 'id', key: 'tus/partial/id/file' });
    expect(askedBy(metadataOf({ bucket: 'b', key: 'k' }), 'id')).toMatchObject({ bucket: 'b', key: 'k' });
    const brought = metadataOf({ name: 'a.bin', connector_id: 'c' });
    expect(askedBy(brought, 'id')).toEqual({ name: 'a.bin', connectorId: 'c' });
    expect(askedBy(metadataOf({ connector_id: 'c', key: 'k' }), 'id')).toMatchObject({ key: 'k' });
    expect(askedBy(brought, 'id', 'tus/partial')).toMatchObject({ key: 'tus/partial/id/a.bin' });
    expect(() => askedBy('a b c', 'id')).toThrow(expect.objectContaining({ code: 'InvalidInput' }) as Error);
  });
});

describe('Upload-Concat', () => {
  test('addresses may be absolute or relative', () => {
    expect(parseConcat(undefined, '/files')).toBeUndefined();
    expect(parseConcat('partial', '/files')).toBe('partial');
    expect(parseConcat('final;/files/a  http://h:1/pre/files/b?c c/', '/files')).toEqual(['a', 'b', 'c']);
  });

  test.each([
    '',
    'final',
    'final;',
    'final; ',
    'partial;x',
    'final;/files/%00',
    `final;${'a '.repeat(1001)}`,
  ])('%j is refused', (header) =>
    expect(() => parseConcat(header, '/files')).toThrow(
      expect.objectContaining({ code: 'InvalidInput' }) as Error,
    ),
  );
});

describe('checksums', () => {
  test.each(['md5', 'sha1', 'sha256', 'sha512'])('%s over pieces', (algorithm) => {
    const bytes = someBytes(1000);
    const header = `${algorithm.toUpperCase()} ${createHash(algorithm).update(bytes).digest('base64')}`;
    const digester = new Digester(parseChecksum(header));
    digester.update(bytes.subarray(0, 10));
    digester.update(bytes.subarray(10));
    digester.check();
    const other = new Digester(parseChecksum(header));
    other.update(bytes.subarray(1));
    expect(() => other.check()).toThrow(
      expect.objectContaining({ code: 'ChunkDamaged', status: 460 }) as Error,
    );
  });

  test('crc32 is the one of zip, most significant byte first', () => {
    const digester = new Digester(parseChecksum('crc32 y/Q5Jg=='));
    for (const piece of ['1234', '56789']) digester.update(Buffer.from(piece));
    digester.check();
  });
});

describe('a body', () => {
  const never = new AbortController().signal;

  test('comes piece by piece to its end', async () => {
    const reader = new BodyReader(
      Readable.from([Buffer.from('a'), Buffer.from('b')], { objectMode: false }),
      never,
    );
    let all = '';
    for (;;) {
      const piece = await reader.next(1000);
      if (typeof piece === 'string') {
        expect(piece).toBe('end');
        break;
      }
      all += piece.toString();
    }
    expect(all).toBe('ab');
  });

  test('is silent, breaks, or is left at once', async () => {
    const stream = new PassThrough();
    const stop = new AbortController();
    const reader = new BodyReader(stream, stop.signal);
    expect(await reader.next(10)).toBe('silent');
    stream.write('x');
    expect(await reader.next(1000)).toEqual(Buffer.from('x'));
    const waiting = reader.next(60_000);
    stream.destroy(new Error('reset'));
    expect(await waiting).toBe('broken');
    const other = new BodyReader(new PassThrough(), stop.signal);
    const next = other.next(60_000);
    stop.abort();
    expect(await next).toBe('stopped');
  });
});

describe('a spool', () => {
  test('gives back what it took', async () => {
    const bytes = someBytes(3_000_001);
    const spool = await Spool.open();
    try {
      for (let at = 0; at < bytes.byteLength; at += 700_000)
        await spool.append(bytes.subarray(at, at + 700_000));
      const read: Buffer[] = [];
      for await (const piece of spool.read()) read.push(Buffer.from(piece));
      expect(Buffer.concat(read).equals(bytes)).toBe(true);
      expect(spool.size).toBe(bytes.byteLength);
    } finally {
      await spool.close();
    }
  });
});

describe('locks', () => {
  const holder = (active: boolean): Holder & { stops: number } => ({
    stops: 0,
    isActive: () => active,
    stop() {
      this.stops += 1;
    },
  });

  test('one who sends keeps others out, and nobody from looking', async () => {
    const locks = new UploadLocks(150);
    const sender = holder(true);
    const held = await locks.take('a', 'send', sender);
    await expect(locks.take('a', 'send', holder(true))).rejects.toMatchObject({ status: 423 });
    await locks
      .locker('look', holder(true))
      .newLock('a')
      .lock(new AbortController().signal, () => undefined);
    expect(sender.stops).toBe(0);
    await locks.take('b', 'send', holder(true));
    locks.release('a', held);
    await locks.take('a', 'send', holder(true));
  });

  test.each(['send', 'end', 'look'] as const)(
    'one who is silent is told to leave when another comes to %s',
    async (purpose) => {
      const locks = new UploadLocks(5_000);
      const silent = holder(false);
      const held = await locks.take('a', 'send', silent);
      let there = false;
      const lock = locks.locker(purpose, holder(true)).newLock('a');
      const coming = lock.lock(new AbortController().signal, () => undefined).then(() => (there = true));
      await eventually(() => silent.stops > 0);
      expect(there).toBe(false);
      locks.release('a', held);
      await coming;
      await lock.unlock();
      await locks.take('a', 'send', holder(true));
    },
  );

  test('of two who wait for one who leaves, one is next', async () => {
    const locks = new UploadLocks(300);
    const first = await locks.take('a', 'send', holder(true));
    const waiting = [1, 2].map(() => locks.take('a', 'send', holder(true)));
    const outcomes = Promise.allSettled(waiting);
    locks.release('a', first);
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  test('at the end of the process everyone is told, also who comes then', async () => {
    const locks = new UploadLocks(300);
    const [there, late] = [holder(true), holder(true)];
    await locks.take('a', 'send', there);
    locks.stopAll();
    await locks.take('b', 'send', late);
    expect([there.stops, late.stops]).toEqual([1, 1]);
  });

  test('giving up stops whoever sends', async () => {
    const locks = new UploadLocks(5_000);
    const sender = holder(true);
    const held = await locks.take('a', 'send', sender);
    const ending = locks.take('a', 'end', holder(true));
    await eventually(() => sender.stops > 0);
    locks.release('a', held);
    await ending;
  });
});
