/** Whether the chunks of a session make a whole: what the catalog acknowledged, held against what S3 has. Pure. */
import { combineCrc32 } from '../core/crc32.js';
import { chunkCount, chunkLength, type Incomplete } from '../core/sessions.js';
import type { SessionPart } from '../infra/catalog/session-parts.js';
import type { CompletedPart, ListedPart } from '../infra/s3/store.js';
import { crcFromBase64, crcToBase64 } from './ledger.js';

export interface Expected {
  /** Bytes of the whole; null while only the client knows. */
  size: number | null;
  chunkSize: number;
  /** As the client says. */
  chunks?: number | undefined;
  /** All but the last have at least so many bytes. */
  minPartSize: number;
}

export interface Assembled {
  parts: CompletedPart[];
  size: number;
  /** Full-object CRC32, base64; absent when a part has none. */
  crc32?: string;
  /** We computed the CRC of every byte. */
  ours: boolean;
  /** Bytes that passed through us. */
  bytesSent: number;
}

interface Pair {
  row: SessionPart | undefined;
  there: ListedPart | undefined;
}

const MOST_NAMED = 100;

/** `contradicted`: rows that say of a part what S3 does not have. */
export function assemble(
  rows: readonly SessionPart[],
  listed: readonly ListedPart[],
  expected: Expected,
): { whole: Assembled } | { incomplete: Incomplete; contradicted: SessionPart[] } {
  const pairs = new Map<number, Pair>();
  for (const row of rows) pairs.set(row.partNumber, { row, there: undefined });
  for (const there of listed) pairs.set(there.partNumber, { row: pairs.get(there.partNumber)?.row, there });
  const count = countOf([...pairs.keys()], expected);
  const faults = range(count).map((part) => faultOf(pairs.get(part), part, count, expected));
  const found: Faults = {
    count,
    absent: numbersOf(faults, 'absent'),
    misfit: numbersOf(faults, 'misfit'),
    surplus: [...pairs].flatMap(([part, pair]) => (isSurplus(pair, part > count) ? [part] : [])),
  };
  if (faults.some((fault) => fault !== undefined) || found.surplus.some((part) => part > count)) {
    const absent = found.absent.flatMap((part) => pairs.get(part)?.row ?? []);
    return { incomplete: incompleteOf(found), contradicted: absent.filter(({ etag }) => etag !== null) };
  }
  return { whole: join(range(count).map((part) => pairs.get(part) as Required<Pair>)) };
}

/** By part number, from 1. */
interface Faults {
  count: number;
  absent: number[];
  /** There, with a size that it cannot have where it is. */
  misfit: number[];
  surplus: number[];
}

function numbersOf(faults: readonly (string | undefined)[], which: string): number[] {
  return faults.flatMap((fault, index) => (fault === which ? [index + 1] : []));
}

/** Beyond the end what was acknowledged counts; before it, what nobody acknowledged. */
function isSurplus({ row, there }: Pair, beyond: boolean): boolean {
  const acknowledged = typeof row?.etag === 'string';
  return beyond ? acknowledged : there !== undefined && !acknowledged;
}

/** What S3 has and nobody acknowledged counts only where nothing else says where the end is. */
function countOf(known: readonly number[], { size, chunkSize, chunks }: Expected): number {
  if (size !== null) return chunkCount(size, chunkSize);
  return chunks ?? known.reduce((most, part) => Math.max(most, part), 1);
}

function faultOf(
  pair: Pair | undefined,
  part: number,
  count: number,
  expected: Expected,
): 'absent' | 'misfit' | undefined {
  const { row, there } = pair ?? {};
  if (typeof row?.etag !== 'string' || there === undefined) return 'absent';
  if (row.size !== null && row.size !== there.size) return 'absent';
  if (plain(row.etag) !== plain(there.etag) && !isSame(row, there)) return 'absent';
  // Where the size is unknown the client's own parts are as long as it likes, within what S3 takes.
  const fits =
    expected.size === null
      ? part === count || there.size >= expected.minPartSize
      : there.size === chunkLength(part - 1, expected).most;
  return fits ? undefined : 'misfit';
}

/** The same bytes sent twice may have two ETags, where the server encrypts them. */
function isSame({ crc32, size }: SessionPart, there: ListedPart): boolean {
  return crc32 !== null && size === there.size && crc32.toString('base64') === there.crc32;
}

function plain(etag: string): string {
  return etag.replaceAll('"', '');
}

/** What was completed, once S3 lists its parts no more. */
export function recall(rows: readonly SessionPart[]): Assembled {
  return join(
    rows.flatMap((row) => {
      const { partNumber, etag, size } = row;
      return etag === null ? [] : [{ row, there: { partNumber, etag, size: size ?? 0 } }];
    }),
  );
}

function join(pairs: readonly Required<Pair>[]): Assembled {
  let whole: number | undefined = 0;
  let [size, bytesSent, ours] = [0, 0, true];
  const parts = pairs.map((pair): CompletedPart => {
    const [row, there] = [pair.row as SessionPart, pair.there as ListedPart];
    const crc32 = row.crc32?.toString('base64') ?? there.crc32;
    whole =
      whole === undefined || crc32 === undefined
        ? undefined
        : combineCrc32(whole, crcFromBase64(crc32), there.size);
    size += there.size;
    if (row.crc32 === null) ours = false;
    if (!row.vouched) bytesSent += there.size;
    return { partNumber: there.partNumber, etag: there.etag, ...(crc32 === undefined ? {} : { crc32 }) };
  });
  return { parts, size, ours, bytesSent, ...(whole === undefined ? {} : { crc32: crcToBase64(whole) }) };
}

function incompleteOf({ count, absent, misfit, surplus }: Faults): Incomplete {
  const chunks = (parts: readonly number[]): number[] => parts.map((part) => part - 1).sort((a, b) => a - b);
  const missing = chunks([...absent, ...misfit]);
  const said: [what: string, numbers: number[]][] = [
    [`missing of ${count} chunks`, chunks(absent)],
    ['of a size that they cannot have', chunks(misfit)],
    ['beyond the last chunk', chunks(surplus.filter((part) => part > count))],
  ];
  return {
    missing: missing.slice(0, MOST_NAMED),
    missingCount: missing.length,
    surplus: chunks(surplus).slice(0, MOST_NAMED),
    message: said
      .flatMap(([what, numbers]) => (numbers.length > 0 ? `${what}: ${named(numbers)}` : []))
      .join('; '),
  };
}

const MOST_RANGES = 20;

/** `0–3, 7, 9–12`, at most twenty ranges of them. */
function named(numbers: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  const text = ranges
    .slice(0, MOST_RANGES)
    .map(([first, last]) => (first === last ? String(first) : `${first}–${last}`))
    .join(', ');
  return ranges.length > MOST_RANGES ? `${text} and ${ranges.length - MOST_RANGES} ranges more` : text;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}
