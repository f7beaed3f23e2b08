/** Which chunks are there, and which are not. */
import { LongshoreError } from '../../core/errors.js';
import { MAX_PARTS } from '../../core/limits.js';
import { chunkCount, type CompleteAsk, type Incomplete } from '../../core/sessions.js';
import type { Queryable } from '../../infra/catalog/pool.js';
import { readParts, type SessionPart } from '../../infra/catalog/session-parts.js';
import type { SessionRow } from '../../infra/catalog/sessions.js';

export interface ChunkRanges {
  count: number;
  /** First and last chunk of each run, from 0, both included. */
  ranges: [number, number][];
}

/** Parts that are there, in rising order. */
export async function partsThere(db: Queryable, row: SessionRow): Promise<SessionPart[]> {
  const parts = await readParts(db, row.id, row.generation, { limit: MAX_PARTS });
  return parts.filter(({ etag }) => etag !== null);
}

/** Of rising chunk numbers. */
export function rangesOf(chunks: Iterable<number>): ChunkRanges {
  const ranges: [number, number][] = [];
  let count = 0;
  for (const chunk of chunks) {
    count += 1;
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === chunk - 1) last[1] = chunk;
    else ranges.push([chunk, chunk]);
  }
  return { count, ranges };
}

/** What lies between the runs, up to `total` chunks. */
export function gapsOf({ ranges }: ChunkRanges, total: number): ChunkRanges {
  const gaps: [number, number][] = [];
  let next = 0;
  for (const [first, last] of [...ranges, [total, total] as const]) {
    if (first > next) gaps.push([next, Math.min(first, total) - 1]);
    next = Math.max(next, last + 1);
    if (next >= total) break;
  }
  return { count: gaps.reduce((sum, [first, last]) => sum + last - first + 1, 0), ranges: gaps };
}

const NAMED = 100;

/**
 * What can be seen to be wrong before anything is asked of S3; undefined when nothing is. Throws SizeMismatch when what is
 * said now contradicts what was said first.
 */
export function incompleteBy(
  parts: readonly SessionPart[],
  { id, chunkSize, expectedSize }: Pick<SessionRow, 'id' | 'chunkSize' | 'expectedSize'>,
  ask: CompleteAsk,
): Incomplete | undefined {
  if (expectedSize !== null && ask.size !== undefined && ask.size !== expectedSize) {
    throw new LongshoreError(
      'SizeMismatch',
      `${expectedSize} bytes were announced, ${ask.size} are said now`,
      {
        op: 'complete',
        key: id,
      },
    );
  }
  const size = expectedSize ?? ask.size ?? null;
  const highest = parts.at(-1)?.partNumber ?? 0;
  const total = size !== null ? chunkCount(size, chunkSize) : Math.max(1, ask.chunks ?? highest);
  const there = rangesOf(parts.map(({ partNumber }) => partNumber - 1));
  const gaps = gapsOf(there, total);
  // Only the last may be short: a short one before it would move all that follow.
  const short = parts.filter(
    (part) => part.partNumber < total && part.size !== null && part.size !== chunkSize,
  );
  const wrong = new Set(short.map(({ partNumber }) => partNumber - 1));
  for (const [first, last] of gaps.ranges) {
    for (let chunk = first; chunk <= last && wrong.size < NAMED + short.length; chunk++) wrong.add(chunk);
  }
  const surplus = parts.map(({ partNumber }) => partNumber - 1).filter((chunk) => chunk >= total);
  if (wrong.size === 0 && surplus.length === 0) return undefined;
  const missing = [...wrong].sort((a, b) => a - b).slice(0, NAMED);
  const missingCount = gaps.count + short.length;
  return {
    missing,
    missingCount,
    surplus: surplus.slice(0, NAMED),
    message: sayIncomplete(missing, missingCount, surplus, total),
  };
}

function sayIncomplete(missing: number[], count: number, surplus: number[], total: number): string {
  const said: string[] = [];
  if (count > 0) said.push(`${count} of ${total} chunks are missing: ${listed(missing, count)}`);
  if (surplus.length > 0) said.push(`chunks beyond the end: ${listed(surplus, surplus.length)}`);
  return said.join('; ');
}

const SHOWN = 10;

function listed(chunks: readonly number[], count: number): string {
  const shown = chunks.slice(0, SHOWN).join(', ');
  return count > SHOWN ? `${shown} …` : shown;
}

/** Its cause is the `Incomplete`. */
export function partsMissing(id: string, incomplete: Incomplete): LongshoreError {
  return new LongshoreError('PartsMissing', incomplete.message, {
    op: 'complete',
    key: id,
    cause: incomplete,
  });
}
