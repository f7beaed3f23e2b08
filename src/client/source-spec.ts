/** How people write sources and destinations on a command line. Pure: nothing is looked at, only spelled out. */
import { basename, resolve } from 'node:path';
import { LongshoreError } from '../core/errors.js';
import { MAX_KEY_BYTES } from '../core/limits.js';
import type { Destination, ObjectSource, Source, UrlSource } from '../core/uploads.js';

export interface SourceSpecOptions {
  /** Folders by name. */
  roots: Readonly<Record<string, string>>;
  /** Absolute; relative paths begin here. */
  cwd: string;
  /** The store that `s3://` means; default: the destination's. */
  store?: string | undefined;
}

export interface ParsedSource {
  source: Source;
  /** The full address of a URL with credentials or a query: seal it, and put its reference into `source.sealed`. */
  secretUrl?: string;
}

/** `http(s)://…`, `s3://bucket/key`, or a path under one of the roots. Throws InvalidInput. */
export function parseSource(text: string, options: SourceSpecOptions): ParsedSource {
  if (text === '') throw invalid('parseSource', 'the source is empty');
  refuseHalves(text, 'parseSource', 'the source');
  if (text.includes('\0')) throw invalid('parseSource', 'the source holds a NUL');
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined:
      return { source: fileSource(text, options) };
    case 'http':
    case 'https':
      return urlSource(text);
    case 's3':
      return { source: objectSource(text, options.store) };
    default:
      throw invalid('parseSource', `${scheme}:// is no source; give a path, https://… or s3://bucket/key`);
  }
}

/**
 * `s3://bucket/key`. A key that is empty or ends in `/` gets the source's own name, as other tools do.
 * Throws InvalidInput, KeyTooLong.
 */
export function parseDestination(text: string, source?: Source): Destination {
  const op = 'parseDestination';
  refuseHalves(text, op, 'the destination');
  const { bucket, key: asked } = splitS3(text, op);
  let key = asked;
  if (key === '' || key.endsWith('/')) {
    const name = source === undefined ? undefined : baseName(source);
    if (name === undefined) throw invalid(op, `${text} names no key, and the source has no name to take`);
    key += name;
  }
  const bytes = Buffer.byteLength(key);
  if (bytes > MAX_KEY_BYTES) {
    const message = `the key has ${bytes} bytes in UTF-8, and S3 takes ${MAX_KEY_BYTES}`;
    throw new LongshoreError('KeyTooLong', message, { op });
  }
  return { bucket, key };
}

function fileSource(text: string, { roots, cwd }: SourceSpecOptions): Source {
  const path = resolve(cwd, text);
  const holding = Object.entries(roots)
    .map(([name, folder]) => ({ name, prefix: withSlash(resolve(cwd, folder)) }))
    .filter(({ prefix }) => withSlash(path).startsWith(prefix))
    .sort((a, b) => b.prefix.length - a.prefix.length)[0];
  if (holding === undefined) {
    const known = Object.entries(roots).map(([name, folder]) => `${name} (${folder})`);
    const said = known.length === 0 ? 'none is configured' : `there are ${known.join(', ')}`;
    throw invalid(
      'parseSource',
      `${path} is under no root that workers may read: ${said}`,
      'Name a folder above it in LONGSHORE_ROOTS (name=/path), here and for the workers; under `longshore dev` every path will do.',
    );
  }
  const under = path.slice(holding.prefix.length);
  if (under === '') throw invalid('parseSource', `${path} is the root ${holding.name} itself, not a file`);
  return { kind: 'file', root: holding.name, path: under };
}

function withSlash(folder: string): string {
  return folder.endsWith('/') ? folder : `${folder}/`;
}

function urlSource(text: string): ParsedSource {
  // The text may hold a secret: neither it nor the parser's error, which quotes it, may be shown.
  if (!URL.canParse(text)) throw invalid('parseSource', 'the source is not a valid http(s) address');
  const address = new URL(text);
  address.hash = '';
  const source: UrlSource = { kind: 'url', url: address.origin + address.pathname };
  const secret = address.search !== '' || address.username !== '' || address.password !== '';
  return secret ? { source, secretUrl: address.href } : { source };
}

function objectSource(text: string, store: string | undefined): ObjectSource {
  const { bucket, key } = splitS3(text, 'parseSource');
  if (key === '') throw invalid('parseSource', `${text} names no key`);
  return store === undefined ? { kind: 'object', bucket, key } : { kind: 'object', store, bucket, key };
}

/** Keys are taken as they stand: `?`, `#` and `%` are part of them. */
export function splitS3(text: string, op: string): Destination {
  const match = /^s3:\/\/(?<bucket>[^/]*)(?:\/(?<key>[^]*))?$/i.exec(text);
  if (match === null) throw invalid(op, `${text} is not s3://bucket/key`);
  const bucket = match.groups?.['bucket'] ?? '';
  if (!/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i.test(bucket)) {
    throw invalid(op, `${JSON.stringify(bucket)} is no name of a bucket`);
  }
  return { bucket, key: match.groups?.['key'] ?? '' };
}

function baseName(source: Source): string | undefined {
  if (source.kind === 'file') return basename(source.path);
  if (source.kind === 'client') return basename(source.name) || undefined;
  const path = source.kind === 'object' ? source.key : new URL(source.url).pathname;
  const last = path.slice(path.lastIndexOf('/') + 1);
  if (last === '') return undefined;
  return source.kind === 'object' ? last : unescaped(last);
}

function unescaped(segment: string): string {
  try {
    const plain = decodeURIComponent(segment);
    // One segment stays one segment.
    return plain.includes('/') ? segment : plain;
  } catch (error) {
    // A % that escapes nothing stands for itself.
    if (error instanceof URIError) return segment;
    throw error;
  }
}

function refuseHalves(text: string, op: string, what: string): void {
  if (/\p{Surrogate}/u.test(text)) throw invalid(op, `${what} holds half a character (a lone surrogate)`);
}

function invalid(op: string, message: string, hint?: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op, hint });
}
