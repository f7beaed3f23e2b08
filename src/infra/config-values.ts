/** How the values of settings are written: sizes, times, lists. Each schema says in its message what is allowed. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { GiB, KiB, MiB } from '../core/limits.js';
import type { Encryption } from '../core/uploads.js';

const TiB = 1024 * GiB;

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: KiB,
  kib: KiB,
  m: MiB,
  mib: MiB,
  g: GiB,
  gib: GiB,
  t: TiB,
  tib: TiB,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Bytes of `8388608`, `8MiB`, `8M` (the same) or `8MB` (8,000,000); undefined when it is no whole number of bytes. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  const factor = Object.hasOwn(UNITS, unit?.toLowerCase() ?? '')
    ? UNITS[unit?.toLowerCase() ?? '']
    : undefined;
  if (digits === undefined || factor === undefined) return undefined;
  const bytes = Number(digits) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

export function formatSize(bytes: number): string {
  for (const [unit, factor] of [
    ['TiB', TiB],
    ['GiB', GiB],
    ['MiB', MiB],
    ['KiB', KiB],
  ] as const) {
    if (bytes >= factor) return `${Math.round((bytes / factor) * 10) / 10} ${unit}`;
  }
  return `${bytes} bytes`;
}

const TIMES: Readonly<Record<string, number>> = {
  '': 1,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds of `1500`, `1500ms`, `30s`, `5m`, `2h` or `1d`. */
export function parseTime(text: string): number | undefined {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*$/.exec(text) ?? [];
  const factor = TIMES[unit ?? ''];
  return digits === undefined || factor === undefined ? undefined : Math.round(Number(digits) * factor);
}

/** A schema from a parser that answers undefined for what is not allowed. */
function parsed<T>(allowed: string, parse: (text: string) => T | undefined) {
  return z.string().transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: allowed });
    return z.NEVER;
  });
}

const within = (value: number | undefined, min: number, max: number): number | undefined =>
  value !== undefined && value >= min && value <= max ? value : undefined;

export const size = (min: number, max: number) =>
  parsed(`a size from ${formatSize(min)} to ${formatSize(max)}, such as 8388608 or 8MiB`, (text) =>
    within(parseSize(text), min, max),
  );

export const time = (min: number, max: number) =>
  parsed(`a time from ${min} ms to ${max} ms, such as 500ms, 30s or 5m`, (text) =>
    within(parseTime(text), min, max),
  );

/** Seconds: a number alone is seconds too, as `FILE_MONITOR_INTERVAL=60` has it. */
export const seconds = (min: number, max: number) =>
  parsed(`whole seconds from ${min} to ${max}, such as 60, 90s or 5m`, (text) => {
    const given = /^\s*\d+\s*$/.test(text) ? Number(text) * 1000 : parseTime(text);
    const value = given === undefined ? NaN : given / 1000;
    return Number.isInteger(value) ? within(value, min, max) : undefined;
  });

export const integer = (min: number, max: number) =>
  parsed(`a whole number from ${min} to ${max}`, (text) =>
    within(/^\s*\d+\s*$/.test(text) ? Number(text) : undefined, min, max),
  );

export const boolean = () =>
  parsed('true or false', (text) =>
    /^(1|true|yes|on)$/i.test(text) ? true : /^(0|false|no|off)$/i.test(text) ? false : undefined,
  );

export const oneOf = <const T extends string>(...values: readonly T[]) =>
  parsed(`one of ${values.join(', ')}`, (text) => values.find((value) => value === text.toLowerCase()));

export const text = () => z.string();

export const matching = (pattern: RegExp, allowed: string) =>
  parsed(allowed, (value) => (pattern.test(value) ? value : undefined));

/** `host:port`, as Temporal's clients take it. */
export const address = () =>
  matching(/^(\[[0-9a-f:.]+\]|[^\s:/@]+):\d{1,5}$/i, 'an address such as 127.0.0.1:7233');

/** An http(s) address without credentials; slashes at its end go. */
export const webAddress = () =>
  parsed('an http:// or https:// address without user, password, query or fragment', (value) => {
    if (!URL.canParse(value)) return undefined;
    const url = new URL(value);
    const plain = url.username === '' && url.password === '' && url.search === '' && url.hash === '';
    return plain && /^https?:$/.test(url.protocol) ? value.replace(/\/+$/, '') : undefined;
  });

export const postgresAddress = () => {
  const allowed = 'an address such as postgres://user:password@host:5432/database';
  return z.string().transform((value, context): string => {
    if (/^postgres(ql)?:\/\//.test(value) && URL.canParse(value)) return value;
    const wayOut = /^sqlite/i.test(value)
      ? '; the catalog is always PostgreSQL: leave the setting out under `longshore dev`, which brings one, or name a server'
      : '';
    context.addIssue({ code: 'custom', message: allowed + wayOut });
    return z.NEVER;
  });
};

/** 32 bytes in base64. */
export const key32 = () =>
  parsed('32 bytes in base64, as `openssl rand -base64 32` makes them', (value) =>
    /^[A-Za-z0-9+/]{43}=?$/.test(value) && Buffer.from(value, 'base64').length === 32 ? value : undefined,
  );

/** The base of an address: no credentials, query or fragment. Without a slash at its end. */
export const httpBase = () =>
  parsed('an address such as https://longshore.example or http://127.0.0.1:8000', (value) => {
    if (!URL.canParse(value)) return undefined;
    const { protocol, username, password, search, hash, origin, pathname } = new URL(value);
    const plain = [username, password, search, hash].every((part) => part === '');
    if (!plain || (protocol !== 'http:' && protocol !== 'https:')) return undefined;
    return origin + pathname.replace(/\/+$/, '');
  });

/** The content of a file of certificates. */
export const certificates = () =>
  parsed('the path of a readable PEM file of certificates', (path) => {
    try {
      const text = readFileSync(path, 'utf8');
      return text.includes('-----BEGIN CERTIFICATE-----') ? text : undefined;
    } catch (error) {
      // Which file it is and what was expected of it is in the message.
      if ((error as NodeJS.ErrnoException).code !== undefined) return undefined;
      throw error;
    }
  });

export const list = () =>
  parsed('names separated by commas', (value) =>
    value
      .split(',')
      .map((each) => each.trim())
      .filter((each) => each !== ''),
  );

export const encryption = () =>
  parsed('AES256, aws:kms or aws:kms:<key>', (value): Encryption | undefined => {
    if (value === 'AES256') return { type: 'SSE_S3' };
    if (value === 'aws:kms') return { type: 'SSE_KMS' };
    const kmsKeyId = /^aws:kms:(\S+)$/.exec(value)?.[1];
    return kmsKeyId === undefined ? undefined : { type: 'SSE_KMS', kmsKeyId };
  });

const ROOT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** `name=/path,name2=/path`, or the same as a JSON object. */
export const roots = () =>
  parsed('named absolute folders: name=/path,name2=/path, or a JSON object of them', (value) => {
    const pairs = value.trimStart().startsWith('{') ? jsonPairs(value) : listPairs(value);
    const good = pairs?.every(([name, path]) => ROOT_NAME.test(name) && isAbsolute(path));
    if (pairs === undefined || good !== true) return undefined;
    return new Set(pairs.map(([name]) => name)).size === pairs.length ? Object.fromEntries(pairs) : undefined;
  });

function listPairs(value: string): [string, string][] {
  const entries = value.split(',').filter((entry) => entry.trim() !== '');
  return entries.map((entry) => {
    const at = entry.indexOf('=');
    return [entry.slice(0, Math.max(at, 0)).trim(), entry.slice(at + 1).trim()];
  });
}

function jsonPairs(value: string): [string, string][] | undefined {
  try {
    const parsedValue = z.record(z.string(), z.string()).safeParse(JSON.parse(value));
    return parsedValue.success ? Object.entries(parsedValue.data) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
