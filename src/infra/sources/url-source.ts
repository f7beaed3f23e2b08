/**
 * Bytes behind an HTTP(S) address. An address is looked at by a GET for its first byte: it works where HEAD is
 * refused (presigned addresses sign one method), and a 206 is the only proof that ranges are really served.
 */
import { Readable } from 'node:stream';
import { lookup as mimeOf } from 'mime-types';
import type { LongshoreError } from '../../core/errors.js';
import type { UrlSource } from '../../core/uploads.js';
import type { OpenSource, SourceKind, SourceLook } from './source.js';
import { fillFrom, watchedStream, type LengthWatch } from './streams.js';
import {
  contentRange,
  differenceOf,
  differenceOfPart,
  probe,
  readFacts,
  refuseUnreadable,
  strongEtag,
  tooLarge,
  type Facts,
  type PinnedUrl,
} from './url-facts.js';
import { fail, type Answer, type Target, type UrlClient } from './url-http.js';
import { targetOf } from './url-target.js';

/** `unseal` gives the full address that a sealed source stands for. */
export function createUrlSource(
  client: UrlClient,
  unseal: (ref: string) => Promise<string>,
): SourceKind<UrlSource> {
  return {
    async inspect(source, signal) {
      const target = await targetOf(source, unseal, 'inspect');
      return lookOf(source, await probe(client, target, 'inspect', signal));
    },
    async open(pinned, signal) {
      signal.throwIfAborted();
      return openUrl(client, pinned, await targetOf(pinned, unseal, 'open'));
    },
  };
}

function lookOf(source: UrlSource, facts: Facts): SourceLook {
  const { size, etag, lastModified } = facts;
  // Ranges of something that cannot be told from its next version could be stitched together from two of them.
  const ranges = facts.ranges && size !== null && (etag !== null || lastModified !== null);
  const { kind, url, sealed } = source;
  const identity: UrlSource = sealed === undefined ? { kind, url } : { kind, url, sealed };
  return {
    pinned: { ...identity, size, etag, lastModified, ranges },
    contentType: facts.contentType ?? (mimeOf(new URL(url).pathname) || undefined),
    access: ranges ? 'random' : 'sequential',
  };
}

function openUrl(client: UrlClient, pinned: PinnedUrl, target: Target): OpenSource {
  return {
    async check(signal) {
      const facts = await gone(pinned, 'check', () => probe(client, target, 'check', signal));
      const difference = differenceOf(pinned, facts);
      if (difference !== undefined) throw changed(pinned, 'check', difference);
    },

    async read(offset, buffer, signal) {
      if (buffer.length === 0) return;
      const answer = await askRange(client, pinned, target, offset, buffer.length, signal);
      try {
        await fillFrom(answer.body, buffer, watch(client, pinned, answer, 'read', buffer.length));
      } finally {
        answer.release();
      }
    },

    async stream(offset, length, signal) {
      if (!pinned.ranges) return streamWhole(client, pinned, target, offset, length, signal);
      const wanted = length ?? (pinned.size ?? 0) - offset;
      if (wanted === 0) return emptyBody(client, pinned, target, signal);
      const answer = await askRange(client, pinned, target, offset, wanted, signal);
      return watchedStream(answer.body, watch(client, pinned, answer, 'stream', wanted), answer.release);
    },

    close: () => Promise.resolve(),
  };
}

// ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

async function askRange(
  client: UrlClient,
  pinned: PinnedUrl,
  target: Target,
  offset: number,
  length: number,
  signal: AbortSignal,
): Promise<Answer> {
  const op = 'read';
  if (!pinned.ranges)
    throw fail('SourceInvalid', 'the server answers no ranges; read it from its start', op, pinned.url);
  const last = offset + length - 1;
  const headers: Record<string, string> = { range: `bytes=${offset}-${last}` };
  const strong = strongEtag(pinned.etag);
  if (strong !== undefined) headers['if-range'] = strong;
  const answer = await client.ask(target, { op, method: 'GET', headers }, signal);
  try {
    await gone(pinned, op, () => {
      if (answer.status === 412 || answer.status === 416)
        throw changed(pinned, op, `the server answers ${answer.status}`);
      refuseUnreadable(answer, op, pinned.url);
      return Promise.resolve();
    });
    if (answer.status !== 206)
      throw changed(pinned, op, 'a range was asked, and the server sends the whole of something');
    const range = contentRange(answer.headers['content-range']);
    if (range === undefined || range.first !== offset || range.last !== last) {
      // A server may shorten a range; at the end of a smaller resource it must.
      const got = answer.headers['content-range'] ?? 'nothing';
      if (range !== undefined && range.total === pinned.size) {
        throw fail(
          'SourceUnavailable',
          `bytes ${offset}-${last} were asked, and ${got} came`,
          op,
          pinned.url,
        );
      }
      throw changed(pinned, op, `bytes ${offset}-${last} were asked, and ${got} came`);
    }
    const difference = differenceOfPart(pinned, answer, range.total, strong !== undefined);
    if (difference !== undefined) throw changed(pinned, op, difference);
    return answer;
  } catch (error) {
    abandon(answer);
    throw error;
  }
}

/** From the start to the end, in one answer: the only way to read a server without ranges. */
async function streamWhole(
  client: UrlClient,
  pinned: PinnedUrl,
  target: Target,
  offset: number,
  length: number | undefined,
  signal: AbortSignal,
): Promise<Readable> {
  const op = 'stream';
  if (offset !== 0 || (length !== undefined && length !== pinned.size)) {
    throw fail(
      'SourceInvalid',
      'the server answers no ranges; read it whole, from its start',
      op,
      pinned.url,
    );
  }
  const answer = await client.ask(target, { op, method: 'GET', headers: {} }, signal);
  try {
    const facts = await gone(pinned, op, () => Promise.resolve(readFacts(answer, op, pinned.url)));
    if (answer.status !== 200)
      throw fail('SourceInvalid', `the server answers ${answer.status}`, op, pinned.url);
    // A chunked answer leaves out the length that a HEAD named.
    const difference = differenceOf(pinned, { ...facts, size: facts.size ?? pinned.size });
    if (difference !== undefined) throw changed(pinned, op, difference);
    const limits = watch(client, pinned, answer, op, pinned.size ?? undefined);
    return watchedStream(answer.body, limits, answer.release);
  } catch (error) {
    abandon(answer);
    throw error;
  }
}

async function emptyBody(
  client: UrlClient,
  pinned: PinnedUrl,
  target: Target,
  signal: AbortSignal,
): Promise<Readable> {
  const difference = differenceOf(
    pinned,
    await gone(pinned, 'stream', () => probe(client, target, 'stream', signal)),
  );
  if (difference !== undefined) throw changed(pinned, 'stream', difference);
  return Readable.from([]);
}

function watch(
  client: UrlClient,
  pinned: PinnedUrl,
  answer: Answer,
  op: string,
  expected: number | undefined,
): LengthWatch {
  return {
    expected,
    max: client.config.maxSize,
    onShort: (got) => fail('SourceUnavailable', `the answer ended after ${got} bytes`, op, pinned.url),
    onLong: (got) =>
      changed(pinned, op, `more came than the ${expected ?? 0} bytes that were to come (${got})`),
    onTooLarge: (got) => tooLarge(client, got, op, pinned.url),
    onError: answer.failure,
  };
}

function abandon(answer: Answer): void {
  // Destroying an unread body makes it report just that.
  answer.body.on('error', () => undefined);
  answer.body.destroy();
  answer.release();
}

/** What was there when it was pinned and is no longer has changed. */
async function gone<T>(pinned: PinnedUrl, op: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if ((error as LongshoreError).code !== 'SourceNotFound') throw error;
    throw changed(pinned, op, 'it is gone', error);
  }
}

function changed(pinned: PinnedUrl, op: string, how: string, cause?: unknown): LongshoreError {
  return fail('SourceChanged', how, op, pinned.url, cause);
}
