/**
 * Globs on paths. `*` and `?` stay within one name, `**` as a whole name crosses folders, `[a-z]` and `[!a-z]` are one
 * character, `{a,b}` is either; `\` takes its meaning from the next character. A dot at the start of a name is matched
 * like any other character. Nothing else has a meaning.
 *
 * Written here because patterns come from callers: translated into a regular expression, `*a*a*a*a*a*b` keeps a worker
 * busy for minutes. Here a match costs at most the length of the pattern times that of the path.
 */
import { LongshoreError } from './errors.js';

export interface Glob {
  /** Patterns that it stands for, as `{a,b}{c,d}` for four: what a match costs, besides its length. */
  alternatives: number;
  matches(path: string): boolean;
  /** Whether anything under this folder can match; '' is where paths begin. */
  reaches(folder: string): boolean;
}

const MAX_PATTERN = 1024;
/** Of one pattern, and of all that a job has together. */
export const MAX_ALTERNATIVES = 256;

type Part = '**' | ((name: string) => boolean);

/** Throws InvalidInput for a pattern that is none. A `/` at its end stands for all that is under the folder. */
export function createGlob(pattern: string): Glob {
  if (pattern === '') throw invalid(pattern, 'it is empty');
  if (pattern.length > MAX_PATTERN) throw invalid(pattern, `it is longer than ${MAX_PATTERN} characters`);
  if (pattern.startsWith('/')) throw invalid(pattern, 'it begins with /, but paths are below the folder');
  const ways = expand(pattern, pattern).map((way) => partsOf(way, pattern));
  return {
    alternatives: ways.length,
    matches: (path) => {
      const names = path.split('/');
      return ways.some((parts) => matchPath(parts, names));
    },
    reaches: (folder) => {
      const names = folder === '' ? [] : folder.split('/');
      return ways.some((parts) => reachesInto(parts, names));
    },
  };
}

function partsOf(pattern: string, whole: string): Part[] {
  const names = (pattern.endsWith('/') ? `${pattern}**` : pattern).split('/');
  if (names[0] === '.') names.shift();
  if (names.some((name) => name === '' || name === '.' || name === '..'))
    throw invalid(whole, 'it has an empty name, or . or .., between its slashes');
  return names.map((name) => (name === '**' ? '**' : nameMatcher(name, whole)));
}

function invalid(pattern: string, why: string): LongshoreError {
  const message = `the pattern ${JSON.stringify(pattern.slice(0, 200))} cannot be used: ${why}`;
  return new LongshoreError('InvalidInput', message, { op: 'filter' });
}

// ── Folders ──────────────────────────────────────────────────────────────────────────────────────────────────────

function matchPath(parts: readonly Part[], names: readonly string[]): boolean {
  // `x/**` is what x holds, not x itself.
  const least = parts.at(-1) === '**' ? 1 : 0;
  return matchRun(
    parts,
    names,
    (part) => part === '**',
    (part, name) => part !== '**' && part(name),
    least,
  );
}

/** Whether the beginning of the pattern matches the folder, with something left for what is in it. */
function reachesInto(parts: readonly Part[], names: readonly string[]): boolean {
  for (const [index, name] of names.entries()) {
    const part = parts[index];
    if (part === '**') return true;
    if (part === undefined || !part(name)) return false;
  }
  return parts.length > names.length;
}

/**
 * Items against a pattern in which some elements stand for any run of items, the others for one item each. Going back
 * to the last run alone is enough: an earlier one gains nothing by taking more. `least`: items that a run at the very
 * end must take.
 */
function matchRun<P, T>(
  pattern: ArrayLike<P>,
  items: ArrayLike<T>,
  isRun: (element: P) => boolean,
  fits: (element: P, item: T) => boolean,
  least = 0,
): boolean {
  let at = 0;
  let run = -1;
  let retry = 0;
  let item = 0;
  while (item < items.length) {
    const element = pattern[at];
    if (at < pattern.length && isRun(element as P)) {
      if (at === pattern.length - 1) return items.length - item >= least;
      run = at++;
      retry = item;
    } else if (at < pattern.length && fits(element as P, items[item] as T)) {
      at++;
      item++;
    } else if (run >= 0) {
      at = run + 1;
      item = ++retry;
    } else return false;
  }
  while (at < pattern.length && isRun(pattern[at] as P) && (at < pattern.length - 1 || least === 0)) at++;
  return at === pattern.length;
}

// ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────

type Token = '*' | ((character: string) => boolean);

function nameMatcher(pattern: string, whole: string): (name: string) => boolean {
  if (!/[*?[\\]/.test(pattern)) return (name) => name === pattern;
  if (/^\*[^*?[\\]*$/.test(pattern)) {
    const end = pattern.slice(1);
    return (name) => name.endsWith(end);
  }
  const tokens = tokensOf([...pattern], whole);
  return (name) =>
    matchRun(
      tokens,
      [...name],
      (token) => token === '*',
      (token, character) => token !== '*' && token(character),
    );
}

function tokensOf(characters: readonly string[], whole: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] as string;
    if (character === '*') {
      if (tokens.at(-1) !== '*') tokens.push('*');
    } else if (character === '?') tokens.push(() => true);
    else if (character === '[') {
      const end = endOfClass(characters, at);
      if (end < 0) throw invalid(whole, 'a [ is not closed');
      tokens.push(classOf(characters.slice(at + 1, end)));
      at = end;
    } else {
      const literal = character === '\\' ? characters[++at] : character;
      if (literal === undefined) throw invalid(whole, 'it ends in a \\');
      tokens.push((each) => each === literal);
    }
  }
  return tokens;
}

/** A `]` right at its start belongs to the class. */
function endOfClass(characters: readonly string[], start: number): number {
  let at = start + 1;
  if (characters[at] === '!' || characters[at] === '^') at++;
  for (at++; at < characters.length; at++) {
    if (characters[at - 1] === '\\') continue;
    if (characters[at] === ']') return at;
  }
  return -1;
}

function classOf(inside: readonly string[]): (character: string) => boolean {
  const negated = inside[0] === '!' || inside[0] === '^';
  const members: [number, number][] = [];
  const literal: string[] = [];
  const dashes = new Set<number>();
  for (let at = negated ? 1 : 0; at < inside.length; at++) {
    if (inside[at] === '\\' && at + 1 < inside.length) at++;
    else if (inside[at] === '-') dashes.add(literal.length);
    literal.push(inside[at] as string);
  }
  const codes = literal.map((character) => character.codePointAt(0) as number);
  for (let at = 0; at < codes.length; at++) {
    const from = codes[at] as number;
    const to = dashes.has(at + 1) ? codes[at + 2] : undefined;
    members.push([from, to ?? from]);
    if (to !== undefined) at += 2;
  }
  return (character) => {
    const code = character.codePointAt(0) as number;
    return members.some(([from, to]) => code >= from && code <= to) !== negated;
  };
}

// ── Alternatives ─────────────────────────────────────────────────────────────────────────────────────────────────

/** `a{b,c}` into `ab` and `ac`, from the first brace on; braces nest. */
function expand(pattern: string, whole: string): string[] {
  const open = find(pattern, 0, '{');
  if (open < 0) return [pattern];
  const { close, commas } = braces(pattern, open);
  if (close < 0) throw invalid(whole, 'a { is not closed');
  const cuts = [open, ...commas, close];
  const ways: string[] = [];
  for (let index = 1; index < cuts.length; index++) {
    const inside = pattern.slice((cuts[index - 1] as number) + 1, cuts[index]);
    ways.push(...expand(pattern.slice(0, open) + inside + pattern.slice(close + 1), whole));
    if (ways.length > MAX_ALTERNATIVES) throw invalid(whole, `it has over ${MAX_ALTERNATIVES} alternatives`);
  }
  return ways;
}

function braces(pattern: string, open: number): { close: number; commas: number[] } {
  const commas: number[] = [];
  let depth = 0;
  for (let at = find(pattern, open, '{},'); at >= 0; at = find(pattern, at + 1, '{},')) {
    if (pattern[at] === '{') depth++;
    else if (pattern[at] === '}') depth--;
    else if (depth === 1) commas.push(at);
    if (depth === 0) return { close: at, commas };
  }
  return { close: -1, commas };
}

/** The next of these characters that is not escaped. */
function find(pattern: string, from: number, characters: string): number {
  for (let at = from; at < pattern.length; at++) {
    if (pattern[at] === '\\') at++;
    else if (characters.includes(pattern[at] as string)) return at;
  }
  return -1;
}
