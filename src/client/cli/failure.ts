/** How a failure is shown, and which exit code it is. */
import { ERRORS, LongshoreError, type FailureView } from '../../core/errors.js';
import type { Io } from './io.js';
import { clean, cleanLines } from './text.js';

/** The error as `--json` prints it; a stable shape. */
export interface JsonError {
  code: string;
  message: string;
  op: string | null;
  key: string | null;
  hint: string;
}

export function jsonError({ code, message, op, key, hint }: FailureView): JsonError {
  return { code, message, op: op ?? null, key: key ?? null, hint };
}

export function exitCodeOf(error: LongshoreError): number {
  return ERRORS[error.code].exit;
}

/** Everything that can be thrown as one of ours. */
export function asLongshoreError(error: unknown): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const { name, message, code } = (error ?? {}) as { name?: string; message?: string; code?: unknown };
  const said = message ?? String(error);
  if (name === 'NamespaceNotFoundError') {
    return new LongshoreError('InvalidConfig', `Temporal has no namespace as asked: ${said}`, {
      op: 'connect',
      cause: error,
      hint: 'Correct --namespace (TEMPORAL_NAMESPACE), or create the namespace.',
    });
  }
  // gRPC: 7 PERMISSION_DENIED, 16 UNAUTHENTICATED
  const grpc = grpcCode(error) ?? code;
  if (grpc === 7 || grpc === 16) {
    return new LongshoreError('InvalidConfig', `Temporal refuses: ${said}`, {
      op: 'connect',
      cause: error,
      hint: 'Check TEMPORAL_API_KEY or the certificates, and that they may use the namespace.',
    });
  }
  return new LongshoreError('Internal', said, { op: 'cli', cause: error });
}

function grpcCode(error: unknown): unknown {
  return (error as { cause?: { code?: unknown } } | undefined)?.cause?.code;
}

/** Prints the failure where it belongs and answers the exit code. */
export function report(io: Io, thrown: unknown): number {
  const error = asLongshoreError(thrown);
  if (io.json) io.outJson({ error: jsonError(error) });
  else printFailure(io, error);
  if (io.debug) for (const line of stackOf(error)) io.err(line);
  return exitCodeOf(error);
}

export function printFailure(io: Io, { code, message, hint }: FailureView): void {
  const [first = '', ...rest] = cleanLines(message);
  // Some messages list ways out, a line each; the code goes where the sentence ends.
  io.err(`error: ${first}${rest.length === 0 ? ` (${code})` : ''}`);
  for (const line of rest) io.err(`  ${line}`);
  if (rest.length > 0) io.err(`code: ${code}`);
  io.err(`hint: ${cleanLines(hint).join(' ')}`);
}

function stackOf(error: Error): string[] {
  const lines: string[] = [];
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    lines.push(
      ...(at.stack ?? String(at)).split('\n').map((line) => clean(depth === 0 ? line : `cause: ${line}`)),
    );
  }
  return lines;
}
