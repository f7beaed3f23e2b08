/**
 * Names in a tree. The system knows them as bytes; here a string holds one byte in each character (latin1), so that
 * strings compare as bytes do, which is also how the catalog sorts the UTF-8 of its paths.
 */
import { isUtf8 } from 'node:buffer';

const NOT_ASCII = /[^\0-\x7f]/;

/** The bytes of a text's UTF-8, one in each character. */
export function bytesOf(text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
}

/** The text whose UTF-8 these bytes are. */
export function textOf(bytes: string): string {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes;
}

/** A path as system calls take it. Plain strings are cheaper where they say the same. */
export function systemPath(bytes: string): string | Buffer {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1') : bytes;
}

export interface ListedName {
  /** As the system knows it. */
  raw: string;
  /** As it is shown and sorted: the bytes of its UTF-8, with `\xHH` for bytes that are none. */
  shown: string;
}

/** A listing in the order of what is shown. Names that would be shown alike are told apart. */
export function sortNames(names: string[]): (string | ListedName)[] {
  if (names.every((name) => !NOT_ASCII.test(name) || isUtf8(Buffer.from(name, 'latin1'))))
    return names.sort();
  const valid = names.filter((name) => isUtf8(Buffer.from(name, 'latin1')));
  const taken = new Set(valid);
  const listed: (string | ListedName)[] = valid;
  for (const raw of names.sort()) {
    if (isUtf8(Buffer.from(raw, 'latin1'))) continue;
    let shown = escapeInvalid(raw);
    // No name holds a NUL, so this one says of itself that it is made.
    while (taken.has(shown)) shown += '\\x00';
    taken.add(shown);
    listed.push({ raw, shown });
  }
  return listed.sort((a, b) => (shownOf(a) < shownOf(b) ? -1 : 1));
}

export function shownOf(name: string | ListedName): string {
  return typeof name === 'string' ? name : name.shown;
}

export function rawOf(name: string | ListedName): string {
  return typeof name === 'string' ? name : name.raw;
}

function escapeInvalid(raw: string): string {
  const bytes = Buffer.from(raw, 'latin1');
  let shown = '';
  for (let at = 0; at < bytes.length;) {
    const length = validLength(bytes, at);
    shown += length > 0 ? bytes.toString('latin1', at, at + length) : escaped(bytes[at] as number);
    at += Math.max(length, 1);
  }
  return shown;
}

function escaped(byte: number): string {
  return `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** Length of the character of UTF-8 at this place; 0: there is none. */
function validLength(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}
