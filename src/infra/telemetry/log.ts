/** Structured logs on stderr. Whatever is logged passes through here, so that no secret leaves by a log. */
import pino from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { describeError } from './describe-error.js';
import { isSecretName, REDACTED, scrub } from './scrub.js';

export type { Logger } from 'pino';
export { describeError } from './describe-error.js';
export { scrub } from './scrub.js';

export interface LoggerOptions {
  /** `trace` … `fatal`, or `silent`. */
  level: string;
  /** The part of Longshore that speaks. */
  name: string;
  /** Default: stderr, so that stdout holds results alone. */
  destination?: DestinationStream;
}

const MAX_DEPTH = 8;

export function createLogger({ level, name, destination }: LoggerOptions): Logger {
  const sink = destination ?? pino.destination({ dest: 2, sync: true });
  return pino(
    {
      level,
      name,
      serializers: { err: described, error: described },
      formatters: { log: redactRecord, bindings: redactRecord },
    },
    // Names hide whole values above; what is inside texts, an error's message for one, is found in the finished line.
    { write: (line: string) => sink.write(scrub(line)) },
  );
}

/** Serializers come after formatters, which have described every error that is in a record. */
function described(value: unknown): unknown {
  return value instanceof Error ? describeError(value) : value;
}

function redactRecord(record: Record<string, unknown>): Record<string, unknown> {
  return redact(record, 0, []) as Record<string, unknown>;
}

/** A copy in which no value under a secret's name is left, at any depth. Errors become their descriptions. */
function redact(value: unknown, depth: number, above: readonly object[]): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (value instanceof Error) return describeError(value);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (above.includes(value)) return '[circular]';
  if (depth >= MAX_DEPTH) return '[deeper]';
  const path = [...above, value];
  if (value instanceof Map) return redact(Object.fromEntries(value), depth + 1, path);
  if (Array.isArray(value) || value instanceof Set)
    return [...value].map((each) => redact(each, depth + 1, path));
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      isSecretName(name) && each !== undefined && each !== null ? REDACTED : redact(each, depth + 1, path),
    ]),
  );
}
