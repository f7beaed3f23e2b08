import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Cutter, type PieceBuffers } from '../../src/activities/cutter.js';
import { inLanes } from '../../src/activities/lanes.js';
import { createBufferPool } from '../../src/infra/buffers.js';

const never = new AbortController().signal;

function buffersOf(length: number, released: Buffer[] = []): PieceBuffers {
  return {
    acquire: () => Promise.resolve(Buffer.alloc(length)),
    release: (buffer) => void released.push(buffer),
  };
}

describe('Cutter', () => {
  const cut = async (bytes: Buffer, chunk: number, length: number, expected: number | null = null) => {
    const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
      bytes.subarray(i * chunk, (i + 1) * chunk),
    );
    const cutter = new Cutter(Readable.from(chunks), expected);
    const pieces: Buffer[] = [];
    for (let part = 1; !cutter.ended.aborted; part++) {
      const piece = await cutter.next(part, buffersOf(length), length);
      if (piece !== undefined) pieces.push(piece.bytes);
    }
    return { pieces, outcome: cutter.outcome };
  };

  it.each([
    [0, 3],
    [1, 3],
    [9, 3],
    [10, 3],
    [10, 100],
  ])('cuts %i bytes, whatever the chunks, into parts of %i', async (size, length) => {
    const bytes = Buffer.from(Array.from({ length: size }, (_, i) => i));
    for (const chunk of [1, 2, 4, 50]) {
      const { pieces, outcome } = await cut(bytes, chunk, length);
      expect(Buffer.concat(pieces)).toEqual(bytes);
      expect(outcome).toEqual({ size, parts: Math.max(1, Math.ceil(size / length)) });
    }
  });

  it('gives the buffer back when the stream breaks, and never takes the break for the end', async () => {
    const broken = Readable.from(
      (function* () {
        yield Buffer.from('ab');
        throw new Error('reset');
      })(),
    );
    const cutter = new Cutter(broken, null);
    const released: Buffer[] = [];
    await expect(cutter.next(1, buffersOf(4, released), 4)).rejects.toThrow('reset');
    await expect(cutter.next(2, buffersOf(4, released), 4)).rejects.toThrow('reset');
    expect(released).toHaveLength(1);
    expect(cutter.outcome).toBeUndefined();
  });

  it('serves lanes in the order in which they asked', async () => {
    const cutter = new Cutter(Readable.from([Buffer.from('abcdef')]), null);
    const pieces = await Promise.all([1, 2, 3].map((part) => cutter.next(part, buffersOf(2), 2)));
    expect(pieces.map((piece) => piece?.bytes.toString())).toEqual(['ab', 'cd', 'ef']);
  });
});

describe('inLanes', () => {
  it('runs no more than its width at once, and everything in the end', async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await inLanes([1, 2, 3, 4, 5, 6], 2, { stop: never, abort: never }, async (item) => {
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
      done.push(item);
    });
    expect(most).toBe(2);
    expect(done.sort()).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('throws the first failure, after the others were told and ended', async () => {
    let othersEnded = false;
    const work = inLanes([1, 2], 2, { stop: never, abort: never }, async (item, signal) => {
      if (item === 1) throw new Error('first');
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      othersEnded = true;
      throw new Error('second');
    });
    await expect(work).rejects.toThrow('first');
    expect(othersEnded).toBe(true);
  });

  it('begins nothing after the stop', async () => {
    const stop = new AbortController();
    const done: number[] = [];
    await inLanes([1, 2, 3], 1, { stop: stop.signal, abort: never }, async (item) => {
      done.push(item);
      if (item === 2) stop.abort();
      await Promise.resolve();
    });
    expect(done).toEqual([1, 2]);
  });
});

describe('createBufferPool', () => {
  it('lets who asks beyond the budget wait for a release', async () => {
    const pool = createBufferPool(100);
    const first = await pool.acquire(60, never);
    const waiting = pool.acquire(60, never);
    expect(await Promise.race([waiting, new Promise((resolve) => setImmediate(resolve, 'waiting'))])).toBe(
      'waiting',
    );
    pool.release(first);
    expect(await waiting).toBe(first);
  });

  it('grants a single buffer larger than the budget', async () => {
    expect((await createBufferPool(10).acquire(50, never)).byteLength).toBe(50);
  });

  it('forgets who gives up, and serves the next', async () => {
    const pool = createBufferPool(10);
    const held = await pool.acquire(10, never);
    const gone = new AbortController();
    const given = pool.acquire(10, gone.signal);
    const next = pool.acquire(10, never);
    gone.abort(new Error('gave up'));
    await expect(given).rejects.toThrow('gave up');
    pool.release(held);
    await expect(next).resolves.toBe(held);
  });

  it('makes room among buffers of other sizes', async () => {
    const pool = createBufferPool(100);
    pool.release(await pool.acquire(100, never));
    expect((await pool.acquire(70, never)).byteLength).toBe(70);
  });
});
