/** What a server says of a resource, and whether it still says the same. */
import type { LongshoreError } from '../../core/errors.js';
import type { PinnedSource } from '../../core/upload-steps.js';
import { discard, fail, statusFailure, type Answer, type Target, type UrlClient } from './url-http.js';

export type PinnedUrl = PinnedSource & { kind: 'url' };

/** What an answer says of the resource. */
export interface Facts {
  size: number | null;
  etag: string | null;
  lastModified: string | null;
  ranges: boolean;
  contentType: string | undefined;
}

export async function probe(
  client: UrlClient,
  target: Target,
  op: string,
  signal: AbortSignal,
): Promise<Facts> {
  const { label } = target;
  const first = await client.ask(target, { op, method: 'GET', headers: { range: 'bytes=0-0' } }, signal);
  await discard(first);
  let facts: Facts;
  if (first.status === 416 || first.status === 400 || first.status === 405 || first.status === 501) {
    // Nothing to take a first byte of, or no liking for ranges: ask for all of it, and take the headers only.
    const whole = await client.ask(target, { op, method: 'GET', headers: {} }, signal);
    await discard(whole);
    facts = readFacts(whole, op, label);
  } else {
    facts = readFacts(first, op, label);
  }
  if (facts.size === null) facts = { ...facts, size: await sizeByHead(client, target, op, signal) };
  if (facts.size !== null && facts.size > client.config.maxSize)
    throw tooLarge(client, facts.size, op, label);
  return facts;
}

/** A HEAD may know the length that a GET leaves open. Whatever it cannot say stays unknown. */
async function sizeByHead(
  client: UrlClient,
  target: Target,
  op: string,
  signal: AbortSignal,
): Promise<number | null> {
  const answer = await client.ask(target, { op, method: 'HEAD', headers: {} }, signal);
  await discard(answer);
  if (answer.status !== 200 || isEncoded(answer)) return null;
  // Zero is what programs say that make no body for HEAD; an empty answer to GET names its length by itself.
  return wholeNumber(answer.headers['content-length']) || null;
}

export function readFacts(answer: Answer, op: string, label: string): Facts {
  refuseUnreadable(answer, op, label);
  const { headers } = answer;
  const range = answer.status === 206 ? contentRange(headers['content-range']) : undefined;
  if (answer.status === 206 && range === undefined) {
    throw fail('SourceInvalid', 'the server answers 206 without a Content-Range', op, label);
  }
  const size = answer.status === 206 ? (range?.total ?? null) : wholeNumber(headers['content-length']);
  return {
    size,
    etag: headers['etag'] ?? null,
    lastModified: headers['last-modified'] ?? null,
    ranges: range?.first === 0 && range.last === 0,
    contentType: contentTypeOf(headers['content-type']),
  };
}

export function refuseUnreadable(answer: Answer, op: string, label: string): void {
  const failure = statusFailure(answer.status, op, label);
  if (failure !== undefined) throw failure;
  if (answer.status !== 200 && answer.status !== 206) {
    throw fail('SourceInvalid', `the server answers ${answer.status}`, op, label);
  }
  if (isEncoded(answer)) {
    const encoding = answer.headers['content-encoding'] ?? '';
    throw fail(
      'SourceInvalid',
      `the server sends it encoded (${encoding}) although identity was asked`,
      op,
      label,
    );
  }
  const { headers } = answer;
  if (
    answer.status === 200 &&
    headers['content-length'] === undefined &&
    headers['transfer-encoding'] === undefined
  ) {
    const message = 'the server names neither length nor chunks, so a cut transfer would look complete';
    throw fail('SourceInvalid', message, op, label);
  }
}

function isEncoded(answer: Answer): boolean {
  const encoding = answer.headers['content-encoding']?.trim().toLowerCase();
  return encoding !== undefined && encoding !== '' && encoding !== 'identity';
}

export function differenceOf(pinned: PinnedUrl, now: Facts): string | undefined {
  if (now.size !== pinned.size)
    return `it had ${pinned.size ?? 'unknown'} bytes, now ${now.size ?? 'unknown'}`;
  if (now.etag !== pinned.etag)
    return `its ETag was ${pinned.etag ?? 'absent'}, now it is ${now.etag ?? 'absent'}`;
  // Replicas behind one name may disagree on the date of the same bytes; a strong ETag settles it.
  if (strongEtag(pinned.etag) === undefined && now.lastModified !== pinned.lastModified) {
    return `it was modified at ${pinned.lastModified ?? 'an unknown time'}, now at ${now.lastModified ?? 'one'}`;
  }
  return undefined;
}

/** A 206 that answers If-Range may leave out what was already compared for us. */
export function differenceOfPart(
  pinned: PinnedUrl,
  answer: Answer,
  total: number | null,
  compared: boolean,
): string | undefined {
  const { etag, 'last-modified': lastModified } = answer.headers;
  return differenceOf(pinned, {
    size: total ?? pinned.size,
    etag: etag ?? (compared ? pinned.etag : null),
    lastModified: lastModified ?? null,
    ranges: true,
    contentType: undefined,
  });
}

/** RFC 9110, 13.1.5: If-Range takes no weak validator. */
export function strongEtag(etag: string | null): string | undefined {
  return etag !== null && /^"[^"]*"$/.test(etag) ? etag : undefined;
}

export function contentRange(
  value: string | undefined,
): { first: number; last: number; total: number | null } | undefined {
  const match = /^bytes\s+(\d+)-(\d+)\/(\d+|\*)$/i.exec(value?.trim() ?? '');
  if (match === null) return undefined;
  return {
    first: Number(match[1]),
    last: Number(match[2]),
    total: match[3] === '*' ? null : Number(match[3]),
  };
}

function wholeNumber(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,16}$/.test(value) ? Number(value) : null;
}

/** A header goes into S3's metadata as it is, so it must be one. */
function contentTypeOf(value: string | undefined): string | undefined {
  return value !== undefined && /^[\w.+-]+\/[\w.+-]+[ -~]{0,200}$/.test(value) ? value : undefined;
}

export function tooLarge(client: UrlClient, size: number, op: string, label: string): LongshoreError {
  const message = `${size} bytes are more than the limit url.maxSize of ${client.config.maxSize} bytes`;
  return fail('SourceTooLarge', message, op, label);
}
