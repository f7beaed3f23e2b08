/** The line to a client while its body comes: what it may take from others, and for how long. */
import { setTimeout as delay } from 'node:timers/promises';
import { PassThrough } from 'node:stream';
import { crc32 } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Lines, shareOf, STRETCH } from '../../src/api/sessions/line.js';
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

  it('that trickles while it occupies a way to S3 is broken off', async () => {
    const { body, sent, done } = begin(new Lines(1, 100 * MiB), 10 * MiB);
    body.write(Buffer.alloc(STRETCH));
    const trickle = setInterval(() => body.write(Buffer.alloc(KiB)), IDLE_MS / 10);
    await expect(done).rejects.toMatchObject({
      code: 'ChunkDamaged',
      message: expect.stringContaining('bytes a second') as string,
    });
    clearInterval(trickle);
    expect(sent).toHaveLength(1);
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
