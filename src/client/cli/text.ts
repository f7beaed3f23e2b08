/** How figures and foreign text are written. Pure. */
import { GiB, KiB, MiB } from '../../core/limits.js';

/**
 * Control characters, and those that turn the direction of writing: keys, messages and labels come from outside, and a
 * terminal would obey them.
 */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;
/** Those that JSON leaves as they are. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** One line that is safe to print: unsafe characters are spelled out (`\u001b`). */
export function clean(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** The same for text of several lines. */
export function cleanLines(text: string): string[] {
  return text.split(/\r?\n/).map(clean);
}

export function jsonLine(value: object): string {
  return JSON.stringify(value).replace(UNSAFE_IN_JSON, escaped);
}

function escaped(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

const TiB = 1024 * GiB;

/** `636.0 MiB`. */
export function bytes(count: number): string {
  const [unit, factor] = unitOf(count);
  return unit === 'B' ? `${count} B` : `${grouped(count / factor, 1)} ${unit}`;
}

/** `636.0 of 1,024.0 MiB`: both in the unit of the whole, so that they can be compared at a glance. */
export function bytesOf(done: number, total: number | null): string {
  if (total === null) return bytes(done);
  const [unit, factor] = unitOf(total);
  const digits = unit === 'B' ? 0 : 1;
  return `${grouped(done / factor, digits)} of ${grouped(total / factor, digits)} ${unit}`;
}

function unitOf(count: number): [string, number] {
  if (count >= TiB) return ['TiB', TiB];
  if (count >= GiB) return ['GiB', GiB];
  if (count >= MiB) return ['MiB', MiB];
  if (count >= KiB) return ['KiB', KiB];
  return ['B', 1];
}

export function grouped(value: number, digits = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function plural(count: number, word: string): string {
  return `${grouped(count)} ${word}${count === 1 ? '' : 's'}`;
}

/** `4 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return joined(whole, 60, 'min', 1, 's');
  if (whole < 86_400) return joined(whole, 3600, 'h', 60, 'min');
  return joined(whole, 86_400, 'd', 3600, 'h');
}

function joined(seconds: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((seconds % large) / small);
  const head = `${Math.floor(seconds / large)} ${largeName}`;
  return rest === 0 ? head : `${head} ${rest} ${smallName}`;
}

/** Local time to the second: `2026-11-21 12:04:31`. */
export function localTime(iso: string): string {
  const at = new Date(iso);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Lines `name  value`, values under each other; pairs without a value are left out. */
export function fields(
  pairs: readonly (readonly [string, string | null | undefined])[],
  indent = '',
): string[] {
  const shown = pairs.filter((pair): pair is readonly [string, string] => typeof pair[1] === 'string');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${indent}${name.padEnd(width)}  ${clean(value)}`);
}

/** A table for people: columns as wide as their widest cell, two spaces between them. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows].map((row) => row.map(clean));
  const widths = head.map((_, column) => Math.max(...all.map((row) => [...(row[column] ?? '')].length)));
  const padded = (cell: string, width: number): string =>
    cell + ' '.repeat(Math.max(0, width - [...cell].length));
  return all.map((row) =>
    row
      .map((cell, column) => padded(cell, widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
