/** Every failure as `application/problem+json` (RFC 9457), with our codes. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ERRORS, LongshoreError, type ErrorCode } from '../core/errors.js';
import { scrub } from '../infra/telemetry/log.js';
import type { Incomplete } from '../core/sessions.js';
import type { Problem } from './schemas/problem.js';

export const PROBLEM_TYPE = 'application/problem+json';

/** Seconds, for what passes. */
const RETRY_AFTER = 5;

/** Their messages name hosts and settings that are no caller's business. */
const GENERAL: Partial<Record<ErrorCode, string>> = {
  Internal: 'the request could not be answered',
  InvalidConfig: 'the service is not set up for this request',
  CatalogUnavailable: 'PostgreSQL does not answer',
  TemporalUnavailable: 'Temporal does not answer',
  SourceOutsideRoot: 'the folder is under no root that workers may read',
};

/** By the status of what fastify and its plugins throw. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  404: 'NotFound',
  405: 'MethodNotAllowed',
  413: 'RequestTooLarge',
  415: 'UnsupportedMediaType',
  429: 'TooManyRequests',
};

export interface FieldError {
  /** Where: `body/source_folder`. */
  field: string;
  message: string;
}

/** Everything that can be thrown while a request is answered, as one of ours. */
export function asLongshoreError(error: unknown): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const { statusCode = 500, message = String(error) } = (error ?? {}) as Partial<FastifyError>;
  const context = { op: 'request', cause: error };
  if (statusCode >= 500) return new LongshoreError('Internal', message, context);
  return new LongshoreError(BY_STATUS[statusCode] ?? 'InvalidInput', message, context);
}

export function problemOf(error: LongshoreError, instance: string, errors?: FieldError[]): Problem {
  const { code, message, hint } = error;
  return {
    type: `urn:longshore:problem:${code}`,
    title: titleOf(code),
    status: ERRORS[code].http,
    detail: scrub(GENERAL[code] ?? message),
    code,
    hint,
    instance,
    ...(errors === undefined ? {} : { errors }),
    ...(code === 'PartsMissing' ? missingChunks(error.cause) : {}),
  };
}

/** What a session still wants. */
function missingChunks(cause: unknown): Pick<Problem, 'missing' | 'missing_count' | 'surplus'> {
  const { missing, missingCount, surplus } = (cause ?? {}) as Partial<Incomplete>;
  if (missing === undefined || missingCount === undefined || surplus === undefined) return {};
  return { missing, missing_count: missingCount, surplus };
}

/** `NoSuchBucket` → `No such bucket`. */
function titleOf(code: ErrorCode): string {
  const words = code.replace(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** fastify's error handler. */
export function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const ours = asLongshoreError(error);
  const problem = problemOf(ours, pathOf(request), fieldErrors(error));
  if (problem.status >= 500) request.log.error({ err: error, code: ours.code }, 'a request failed');
  return sendProblem(reply, problem);
}

export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  const passes = problem.status === 503 || problem.status === 429;
  if (passes && !reply.hasHeader('retry-after')) reply.header('retry-after', RETRY_AFTER);
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="longshore"');
  return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
}

export function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0] ?? request.url;
}

/** What the schema refused, field by field. */
function fieldErrors(error: unknown): FieldError[] | undefined {
  const { validation, validationContext = 'request' } = (error ?? {}) as Partial<FastifyError>;
  if (validation === undefined) return undefined;
  return validation.map(({ instancePath, message }) => ({
    field: `${validationContext}${instancePath}`,
    message: scrub(message ?? 'is not allowed'),
  }));
}
