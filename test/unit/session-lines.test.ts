/** The line to a client while its body comes: what it may take from others, and for how long. */
import { setTimeout as delay } from 'node:timers/promises';
import { PassThrough } from 'node:stream';
import { crc32 } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Lines, shareOf, STRETCH, STRETCHES } from '../../src/api/sessions/line.js';
import { carried } from '../../src/api/sessions/receive.js';
import { KiB, MiB } from '../../src/core/limits.js';
import { framed } from '../../src/infra/s3/once.js';
import type { Body, OnceBody } from '../../src/infra/s3/store.js';
import { eventually } from '../helpers/wait.js';

const IDLE_MS = 200;

function crcOf(bytes: Buffer): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes));
  return crc.toString('base64');
}

interface Sent {
  body: Body;
  /** Of a body that came once, its frames. */
  bytes: number;
}

/** Sends as a store does. */
function sink() {
  const sent: Sent[] = [];
  const send = async (body: Body, _: unknown, signal: AbortSignal): Promise<object> => {
    const one: Sent = { body, bytes: 0 };
    sent.push(one);
    if (Buffer.isBuffer(body)) return {};
    const frames = framed(body as OnceBody);
    const stop = (): unknown => frames.destroy(signal.reason as Error);
    signal.addEventListener('abort', stop);
    for await (const piece of frames) one.bytes += (piece as Buffer).length;
    signal.removeEventListener('abort', stop);
    return {};
  };
  return { sent, send };
}

function begin(lines: Lines, length: number, { apiKey = null as string | null, alive = () => {} } = {}) {
  const body = new PassThrough();
  const { sent, send } = sink();
  const way = { lines, apiKey, ttlMs: 60_000, alive };
  const done = carried({ body, length }, IDLE_MS, new AbortController().signal, send, way);
  done.catch(() => undefined);
  return { body, sent, done };
}

const MANY = 8;
const TOO_SLOW = { code: 'ChunkDamaged', message: expect.stringContaining('bytes a second') as string };

/** So many bytes ten times in an idle time, until it is stopped. */
function trickle(body: PassThrough, bytes: number): () => void {
  const clock = setInterval(() => body.write(Buffer.alloc(bytes)), IDLE_MS / 10);
  return () => clearInterval(clock);
}

describe('a body', () => {
  it('that is short goes when it is whole, however long it takes', async () => {
    const bytes = randomBytes(5);
    let signs = 0;
    const { body, sent, done } = begin(new Lines(1, MiB), 5, { alive: () => (signs += 1) });
    for (const byte of bytes) {
      await delay(IDLE_MS / 2);
      expect(sent).toEqual([]);
      body.write(Buffer.from([byte]));
    }
    body.end();
    expect(await done).toEqual({ crc32: crcOf(bytes) });
    expect(sent).toMatchObject([{ body: bytes }]);
    expect(signs).toBeGreaterThan(1);
  });

  it.each([0, 1, STRETCH - 1, STRETCH, STRETCH + 1, 3 * MiB])('of %i bytes comes whole', async (length) => {
    const bytes = randomBytes(length);
    const { body, done } = begin(new Lines(1, 1), length);
    for (let at = 0; at < length; at += 60_007) body.write(bytes.subarray(at, at + 60_007));
    body.end();
    expect(await done).toEqual({ crc32: crcOf(bytes) });
  });

  it('that is long waits for its first stretch before it takes a way to S3', async () => {
    const lines = new Lines(1, 0);
    const slow = begin(lines, MiB);
    slow.body.write(Buffer.alloc(STRETCH - 1));
    const other = begin(lines, MiB);
    other.body.end(Buffer.alloc(MiB));
    await other.done;
    expect(slow.sent).toEqual([]);
    slow.body.end(Buffer.alloc(MiB - STRETCH + 1));
    await slow.done;
    expect(slow.sent).toHaveLength(1);
  });

  it.each([
    ['ends too soon', (body: PassThrough) => body.end(Buffer.alloc(9)), 'ended after 9 of 10 bytes'],
    ['is too long', (body: PassThrough) => body.end(Buffer.alloc(11)), 'has more than 10 bytes'],
    ['breaks off', (body: PassThrough) => body.destroy(new Error('gone')), 'broke off after 0 of 10 bytes'],
    ['falls silent', () => undefined, 'nothing came of the body'],
  ])('that %s before it was sent is refused', async (_what, spoil, message) => {
    const { body, sent, done } = begin(new Lines(1, 0), 10);
    spoil(body);
    await expect(done).rejects.toMatchObject({
      code: 'ChunkDamaged',
      message: expect.stringContaining(message) as string,
    });
    expect(sent).toEqual([]);
  });

  it('that is slow is broken off while others wait for its way to S3, and not before', async () => {
    const lines = new Lines(1, 100 * MiB);
    const slow = begin(lines, 10 * MiB);
    slow.body.write(Buffer.alloc(STRETCH));
    onTestFinished(trickle(slow.body, KiB));
    expect(await Promise.race([slow.done, delay(4 * IDLE_MS, 'goes on')])).toBe('goes on');
    const waits = begin(lines, MiB);
    waits.body.end(Buffer.alloc(MiB));
    await expect(slow.done).rejects.toMatchObject(TOO_SLOW);
    expect(slow.sent).toHaveLength(1);
    await waits.done;
  });

  it('that is slow makes room also where connections are what is waited for', async () => {
    let waiting = 0;
    const { body, done } = begin(new Lines(1, 100 * MiB, () => waiting), 10 * MiB);
    body.write(Buffer.alloc(STRETCH));
    onTestFinished(trickle(body, KiB));
    expect(await Promise.race([done, delay(3 * IDLE_MS, 'goes on')])).toBe('goes on');
    waiting = 1;
    await expect(done).rejects.toMatchObject(TOO_SLOW);
  });

  it('that is fast is left alone, whoever waits', async () => {
    const { body, done } = begin(new Lines(1, KiB, () => 1), MiB);
    const stop = trickle(body, 32 * KiB);
    onTestFinished(stop);
    expect(await Promise.race([done, delay(3 * IDLE_MS, 'goes on')])).toBe('goes on');
    stop();
    body.destroy();
    await expect(done).rejects.toMatchObject({ code: 'ChunkDamaged' });
  });
});

describe('the memory of first stretches', () => {
  it('is not all one key’s, and is given back once', () => {
    const lines = new Lines(1, 0);
    const take = (key: string) => lines.takeStretch(key);
    const taken = Array.from({ length: STRETCHES }, () => take('a')).filter((place) => place !== undefined);
    expect(taken).toHaveLength(shareOf(STRETCHES));
    const others = Array.from({ length: STRETCHES }, () => take('b')).filter((place) => place !== undefined);
    expect(others).toHaveLength(STRETCHES - shareOf(STRETCHES));
    for (let twice = 0; twice < 2; twice++) taken[0]?.();
    expect([take('b'), take('b')]).toEqual([expect.any(Function), undefined]);
  });

  it('is given back when a body is on its way, and not kept until its end', async () => {
    const lines = new Lines(2, 0);
    for (let n = 1; n < shareOf(STRETCHES); n++) lines.takeStretch('a');
    const { body, sent, done } = begin(lines, MiB, { apiKey: 'a' });
    expect(lines.takeStretch('a')).toBeUndefined();
    body.write(Buffer.alloc(STRETCH));
    await eventually(() => sent[0]?.bytes !== undefined && sent[0].bytes > 0);
    expect(lines.takeStretch('a')).toBeInstanceOf(Function);
    body.end(Buffer.alloc(MiB - STRETCH));
    await done;
  });

  it.each([STRETCH / 2, MiB])('is not kept by one of %i bytes that trickles', async (length) => {
    const lines = new Lines(2, 0);
    for (let n = 1; n < shareOf(STRETCHES); n++) lines.takeStretch('a');
    const bytes = randomBytes(length);
    const { body, sent, done } = begin(lines, length, { apiKey: 'a' });
    let at = 0;
    const step = setInterval(() => body.write(bytes.subarray(at, ++at)), IDLE_MS / 4);
    onTestFinished(() => clearInterval(step));
    await Promise.race([done, eventually(() => sent.length === 1, { what: 'its way to S3' })]);
    await eventually(() => lines.takeStretch('a') !== undefined, { what: 'its place' });
    clearInterval(step);
    body.end(bytes.subarray(at));
    expect(await done).toEqual({ crc32: crcOf(bytes) });
  });
});

describe('the ways to S3', () => {
  it('are not all one key’s', async () => {
    expect([1, 2, 4, 50].map(shareOf)).toEqual([1, 1, 3, 37]);
    const lines = new Lines(shareOf(4), 0);
    const slow = Array.from({ length: MANY }, () => begin(lines, MiB, { apiKey: 'a' }));
    for (const { body } of slow) body.write(Buffer.alloc(STRETCH));
    const busy = () => slow.filter(({ sent }) => sent.length > 0).length;
    await eventually(() => busy() === shareOf(4));
    const other = begin(lines, MiB, { apiKey: 'b' });
    other.body.end(Buffer.alloc(MiB));
    await other.done;
    expect(busy()).toBe(shareOf(4));
    for (const { body } of slow) body.end(Buffer.alloc(MiB - STRETCH));
    await Promise.all(slow.map(({ done }) => done));
  });
});
