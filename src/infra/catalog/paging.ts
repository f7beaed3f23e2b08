/** Pages of lists, newest first: rows that arrive meanwhile neither shift nor repeat one. */
import { LongshoreError } from '../../core/errors.js';

export const MAX_PAGE = 1000;

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
