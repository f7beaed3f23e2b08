/** Pages of lists, newest first: rows that arrive meanwhile neither shift nor repeat one. */
import { LongshoreError } from '../../core/errors.js';
import { query } from './pool.js';
import type { Queryable } from './pool.js';

export const MAX_PAGE = 1000;

export interface PageAsk {
  /** Rows of one page, 1 to 1,000. */
  limit: number;
  /** `nextCursor` of the page before. */
  cursor?: string | undefined;
}

export interface Page<Row> {
  rows: Row[];
  /** null after the last page. */
  nextCursor: string | null;
}

interface List<Raw, Row> {
  op: string;
  /** A table, or a subquery with its alias. */
  from: string;
  /** The column that tells rows of one time apart. */
  id?: 'id' | 'node_id';
  /** Columns and what they have to be; undefined: anything. */
  filters: Readonly<Record<string, unknown>>;
  /** More conditions, as they stand in SQL. */
  also?: readonly string[];
  toRow: (raw: Raw) => Row & { createdAt: string };
  idOf: (row: Row) => string;
}

/** Newest first. Throws InvalidInput for a bad cursor or limit. */
export async function readPage<Raw extends object, Row>(
  db: Queryable,
  { op, from, id = 'id', filters, also = [], toRow, idOf }: List<Raw, Row>,
  { limit, cursor }: PageAsk,
): Promise<Page<Row>> {
  checkPage(limit, op);
  const given: unknown[] = [];
  const bind = (value: unknown): string => `$${given.push(value)}`;
  const conditions = [...also];
  for (const [column, value] of Object.entries(filters))
    if (value !== undefined) conditions.push(`${column} = ${bind(value)}`);
  if (cursor !== undefined) {
    const [createdAt, after] = decodeCursor(cursor, op);
    conditions.push(`(created_at, ${id}) < (${bind(createdAt)}::timestamptz, ${bind(after)})`);
  }
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
  const { rows } = await query<Raw>(db, op, {
    text: `SELECT * FROM ${from} ${where} ORDER BY created_at DESC, ${id} DESC LIMIT ${bind(limit + 1)}`,
    values: given,
  });
  const page = rows.slice(0, limit).map(toRow);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    rows: page,
    nextCursor: more ? encodeCursor({ createdAt: last.createdAt, id: idOf(last) }) : null,
  };
}

/** Throws InvalidInput. */
export function checkPage(limit: number, op: string): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return;
  throw new LongshoreError('InvalidInput', `a page has 1 to ${MAX_PAGE} rows, not ${limit}`, { op });
}

export function encodeCursor(row: { createdAt: string; id: string }): string {
  return Buffer.from(JSON.stringify([row.createdAt, row.id])).toString('base64url');
}

/** Time and id of the row that the page follows. Throws InvalidInput. */
export function decodeCursor(cursor: string, op: string): [createdAt: string, id: string] {
  const invalid = (cause?: unknown) =>
    new LongshoreError('InvalidInput', 'the cursor is not one that a list answered', { op, cause });
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch (error) {
    throw invalid(error);
  }
  const [createdAt, id] = Array.isArray(parsed) ? (parsed as unknown[]) : [];
  if (typeof createdAt !== 'string' || typeof id !== 'string') throw invalid();
  const time = new Date(createdAt);
  if (Number.isNaN(time.getTime()) || time.toISOString() !== createdAt || id.includes('\0')) throw invalid();
  return [createdAt, id];
}
