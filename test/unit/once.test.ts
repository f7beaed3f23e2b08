/** The end of a body that comes once: it goes only once all of it was looked at, however long that takes. */
import { PassThrough, Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { framed, framedLength, unframed } from '../../src/infra/s3/once.js';
import type { OnceBody } from '../../src/infra/s3/store.js';

const BYTES = Buffer.from('what a client brings');
const WAYS = {
  'in frames': { way: framed, length: framedLength(BYTES.length) },
  'as it is': { way: unframed, length: BYTES.length },
};

/** A body whose end is held until it is decided; its stream closes as soon as it has ended, as requests do. */
function held(change: Partial<OnceBody> = {}) {
  let decide: { resolve: () => void; reject: (error: Error) => void } | undefined;
  let asked: () => void = () => undefined;
  const came = new Promise<void>((resolve) => (asked = resolve));
  const settle = () =>
    new Promise<void>((resolve, reject) => {
      decide = { resolve, reject };
      asked();
    });
  const pieces = [BYTES.subarray(0, 5), BYTES.subarray(5)];
  const once = Readable.from(pieces, { objectMode: false });
  const body: OnceBody = { length: BYTES.length, once, settle, ...change };
  return { body, came, let: () => decide?.resolve(), refuse: (error: Error) => decide?.reject(error) };
}

/** What came of it until now, and how it ended. */
function reading(stream: Readable) {
  const pieces: Buffer[] = [];
  const end = new Promise<Error | undefined>((resolve) => {
    stream.on('data', (piece: Buffer) => pieces.push(Buffer.from(piece)));
    stream.on('end', () => resolve(undefined)).on('error', resolve);
  });
  return { bytes: () => Buffer.concat(pieces), end };
}

describe.each(Object.entries(WAYS))('a body %s', (_name, { way, length }) => {
  it('ends when what looks at it is done, also after its stream has closed', async () => {
    const one = held();
    const read = reading(way(one.body));
    await one.came;
    for (let at = 0; at < 5; at++) await turn();
    expect(one.body.once.destroyed).toBe(true);
    expect(read.bytes().length).toBeLessThan(length);
    one.let();
    expect(await read.end).toBeUndefined();
    expect(read.bytes().length).toBe(length);
  });

  it('has no end when it is refused', async () => {
    const one = held();
    const read = reading(way(one.body));
    await one.came;
    one.refuse(new RangeError('not these'));
    expect(await read.end).toMatchObject({ message: 'not these' });
    expect(read.bytes().length).toBeLessThan(length);
  });

  it('has none either when its line breaks meanwhile', async () => {
    const once = new PassThrough({ autoDestroy: false });
    const one = held({ once });
    const read = reading(way(one.body));
    once.end(BYTES);
    await one.came;
    once.destroy(new Error('gone'));
    expect(await read.end).toMatchObject({ code: 'ChunkDamaged' });
    one.let();
    await turn();
    expect(read.bytes().length).toBeLessThan(length);
  });
});
