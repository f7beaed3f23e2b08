/** Between PostgreSQL's values and ours. */
import { isErrorCode, type FailureView } from '../../core/errors.js';

/** PostgreSQL's text cannot hold NUL; a label or a reason may show a stand-in, where a key must not. */
export function printable(text: string): string {
  return text.replaceAll('\0', '\uFFFD');
}

/** pg answers bigint as text. */
export function numberOrNull(value: string | null): number | null {
  return value === null ? null : Number(value);
}

export function timeOrNull(value: Date | null): string | null {
  return value === null ? null : value.toISOString();
}

const MAX_BIGINT = 2n ** 63n - 1n;

/** File systems reach further than a bigint of nanoseconds, which ends in 2262; what lies beyond counts as its end. */
export function nanoseconds(text: string | null): string | null {
  if (text === null || text.length < 19) return text;
  const value = BigInt(text);
  if (value > MAX_BIGINT) return String(MAX_BIGINT);
  return value < -MAX_BIGINT ? String(-MAX_BIGINT) : text;
}

/** From the columns failure_… of a row. */
export function failureOrNull(raw: Readonly<Record<string, unknown>>): FailureView | null {
  const code = raw['failure_code'];
  if (code === null) return null;
  const text = (column: string): string => (raw[column] as string | null) ?? '';
  return {
    // A newer Longshore may have written a code that this one does not know.
    code: isErrorCode(code) ? code : 'Internal',
    message: text('failure_reason'),
    ...(raw['failure_op'] === null ? {} : { op: text('failure_op') }),
    ...(raw['failure_key'] === null ? {} : { key: text('failure_key') }),
    hint: text('failure_hint'),
  };
}
