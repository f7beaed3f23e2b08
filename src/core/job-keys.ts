/**
 * The key that a file of a job gets: the prefix as it is, then what the template makes of the file.
 *
 * Variables of a template, for the file `photos/2024/cat.jpg`:
 * - `{path}`  `photos/2024/cat.jpg`, below the job's folder; the default template.
 * - `{dir}`   `photos/2024/`, empty for files directly in the folder.
 * - `{name}`  `cat.jpg`.   - `{stem}`  `cat`.   - `{ext}`  `.jpg`, empty for names without one and for `.profile`.
 * - `{yyyy}` `{mm}` `{dd}`  the day it was last modified, UTC.
 *
 * `{{` and `}}` stand for braces. An empty folder's marker (a path that ends in `/`) gets a key that ends in `/`.
 */
import { LongshoreError } from './errors.js';
import type { JobDestination } from './jobs.js';
import { MAX_KEY_BYTES } from './limits.js';
import { utf8Length } from './validate.js';

const DEFAULT_TEMPLATE = '{path}';

/** Literal text, or the name of a variable. */
type Piece = { text: string } | { variable: Variable };

const FROM_PATH = ['path', 'dir', 'name', 'stem', 'ext'] as const;
const FROM_TIME = ['yyyy', 'mm', 'dd'] as const;
type PathVariable = (typeof FROM_PATH)[number];
type TimeVariable = (typeof FROM_TIME)[number];
type Variable = PathVariable | TimeVariable;

/**
 * `path` is below the job's folder; `mtimeNs` (nanoseconds since 1970, decimal) is needed by templates with a date.
 * Throws KeyTooLong, and InvalidInput for a template that is none or a key that comes out empty.
 */
export function keyOf(destination: JobDestination, path: string, mtimeNs?: string): string {
  const { prefix, keyTemplate = DEFAULT_TEMPLATE } = destination;
  const key = prefix + (keyTemplate === DEFAULT_TEMPLATE ? path : filled(keyTemplate, path, mtimeNs));
  if (key === '') throw invalid(`the template ${JSON.stringify(keyTemplate)} makes an empty key`, path);
  // No character of UTF-16 has more than three bytes: most keys need no counting.
  if (key.length * 3 > MAX_KEY_BYTES) {
    const bytes = utf8Length(key);
    if (bytes > MAX_KEY_BYTES) {
      const message = `the key has ${bytes} bytes; S3 takes at most ${MAX_KEY_BYTES}`;
      throw new LongshoreError('KeyTooLong', message, { op: 'key', key: path });
    }
  }
  return key;
}

/** Throws InvalidInput unless every brace of it belongs to a variable that is known. */
export function checkKeyTemplate(template: string): void {
  if (template === '') throw invalid('the key template is empty');
  parse(template);
}

/** Whether no two files of a folder can get the same key: the whole path is in it, in one piece or in the order of a path. */
export function keysAreUnique(template: string): boolean {
  const names = parse(template).map((piece) => ('text' in piece ? '' : piece.variable));
  if (names.includes('path')) return true;
  const dir = names.indexOf('dir');
  if (dir < 0) return false;
  const rest = names.slice(dir + 1);
  return rest.includes('name') || rest.some((name, index) => name === 'stem' && rest[index + 1] === 'ext');
}

function filled(template: string, path: string, mtimeNs: string | undefined): string {
  const marker = path.endsWith('/');
  const plain = marker ? path.slice(0, -1) : path;
  const key = piecesOf(template)
    .map((piece) => ('text' in piece ? piece.text : valueOf(piece.variable, plain, mtimeNs)))
    .join('');
  return marker && !key.endsWith('/') ? `${key}/` : key;
}

function valueOf(variable: Variable, path: string, mtimeNs: string | undefined): string {
  return isTime(variable) ? partOfDate(variable, path, mtimeNs) : partOfPath(variable, path);
}

function partOfPath(variable: PathVariable, path: string): string {
  const nameAt = path.lastIndexOf('/') + 1;
  const dot = path.lastIndexOf('.');
  // A dot at the start of a name hides the file and begins no extension.
  const extAt = dot > nameAt ? dot : path.length;
  switch (variable) {
    case 'path':
      return path;
    case 'dir':
      return path.slice(0, nameAt);
    case 'name':
      return path.slice(nameAt);
    case 'stem':
      return path.slice(nameAt, extAt);
    case 'ext':
      return path.slice(extAt);
  }
}

function partOfDate(variable: TimeVariable, path: string, mtimeNs: string | undefined): string {
  if (mtimeNs === undefined) throw invalid(`{${variable}} needs the time of modification`, path);
  const date = new Date(Math.floor(Number(mtimeNs) / 1e6));
  if (Number.isNaN(date.getTime())) throw invalid(`its time of modification is no date: ${mtimeNs}`, path);
  const [yyyy, mm, dd] = date
    .toISOString()
    .slice(0, -14)
    .split(/(?<=.)-/) as [string, string, string];
  return { yyyy, mm, dd }[variable];
}

function isTime(variable: Variable): variable is TimeVariable {
  return (FROM_TIME as readonly string[]).includes(variable);
}

// ── Templates ────────────────────────────────────────────────────────────────────────────────────────────────────

/** The one that was used last: a job asks for the same again for each of its files. */
let last: { template: string; pieces: Piece[] } | undefined;

function piecesOf(template: string): Piece[] {
  if (last?.template !== template) last = { template, pieces: parse(template) };
  return last.pieces;
}

function parse(template: string): Piece[] {
  const pieces: Piece[] = [];
  for (const [token] of template.matchAll(/\{\{|\}\}|\{[^{}]*\}|[^{}]+|[{}]/g)) {
    if (token === '{{' || token === '}}') pieces.push({ text: token.charAt(0) });
    else if (token === '{' || token === '}') throw invalid(`a brace of the key template stands alone`);
    else if (token.startsWith('{')) pieces.push({ variable: known(token.slice(1, -1)) });
    else pieces.push({ text: token });
  }
  return pieces;
}

function known(name: string): Variable {
  const variables: readonly string[] = [...FROM_PATH, ...FROM_TIME];
  if (variables.includes(name)) return name as Variable;
  const list = variables.map((each) => `{${each}}`).join(' ');
  throw invalid(`the key template knows no {${name}}, only ${list}`);
}

function invalid(message: string, path?: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'key', key: path });
}
