/** Failures as the tus protocol numbers them. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ERRORS, LongshoreError, type ErrorCode, type ErrorContext } from '../../core/errors.js';
import { answerProblem, pathOf, problemOf, sendProblem } from '../problem.js';

/** Where the protocol asks for another status than the table of errors has. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  ChunkDamaged: 460,
};

/** One of ours with a status that only tus has. */
export class TusError extends LongshoreError {
  constructor(
    readonly status: number,
    code: ErrorCode,
    message: string,
    context: ErrorContext,
  ) {
    super(code, message, context);
  }
}

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  404: 'NotFound',
  409: 'Conflict',
  410: 'SessionExpired',
  413: 'RequestTooLarge',
  415: 'UnsupportedMediaType',
};

/** What the library refuses with, as one of ours. */
export function refusal(status: number, body: string): LongshoreError {
  const message = body.trim().replace(/\.$/, '') || 'the request is refused';
  if (status >= 500 && status !== 501) return new LongshoreError('Internal', message, { op: 'tus' });
  return new TusError(status, BY_STATUS[status] ?? 'InvalidInput', message, { op: 'tus' });
}

/** Everything that a handler of the library throws: its own failures are plain objects. */
export function asTusError(error: unknown): unknown {
  if (error instanceof Error && !('status_code' in error)) return error;
  const { status_code: status, body } = (error ?? {}) as { status_code?: unknown; body?: unknown };
  if (typeof status !== 'number') return error;
  return refusal(status, typeof body === 'string' ? body : '');
}

/** As `answerProblem`, with the statuses of tus. */
export function answerTusProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  reply.header('tus-resumable', '1.0.0');
  if (!(error instanceof LongshoreError)) return answerProblem(error, request, reply);
  const status = error instanceof TusError ? error.status : (STATUS[error.code] ?? ERRORS[error.code].http);
  if (status >= 500) request.log.error({ err: error, code: error.code }, 'a request failed');
  return sendProblem(reply, { ...problemOf(error, pathOf(request)), status });
}
