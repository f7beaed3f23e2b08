/** An error as logs show it: known fields by name, since errors of libraries drag connections and requests along. */
import { scrub } from './scrub.js';

export interface ErrorDescription {
  type: string;
  message: string;
  stack?: string;
  cause?: ErrorDescription;
  [field: string]: unknown;
}

/** LongshoreError; Temporal's failures; pg; Node; the AWS SDK. */
const FIELDS = [
  'code',
  'op',
  'key',
  'hint',
  'type',
  'nonRetryable',
  'retryState',
  'activityType',
  'activityId',
  'workflowType',
  'timeoutType',
  'severity',
  'constraint',
  'syscall',
  'address',
  'port',
  'Code',
  'RequestId',
] as const;

const MAX_CAUSES = 8;

/** Secrets hidden, the chain of causes kept; only the first of it has its stack. A value that is no error is described too. */
export function describeError(error: unknown): ErrorDescription {
  return describe(error, 0);
}

function describe(error: unknown, depth: number): ErrorDescription {
  if (!(error instanceof Error)) return { type: typeof error, message: scrub(textOf(error)) };
  const { name, message, stack, cause } = error;
  const fields: Record<string, unknown> = {};
  for (const field of FIELDS) {
    const value = (error as unknown as Record<string, unknown>)[field];
    // Temporal's own `type` is what the failure is called; ours names the class.
    const shown = field === 'type' ? 'failureType' : field;
    if (typeof value === 'string') fields[shown] = scrub(value);
    else if (typeof value === 'number' || typeof value === 'boolean') fields[shown] = value;
  }
  const status = (error as { $metadata?: { httpStatusCode?: unknown } }).$metadata?.httpStatusCode;
  const several = error instanceof AggregateError ? (error.errors as unknown[]).slice(0, MAX_CAUSES) : [];
  return {
    type: name,
    message: scrub(message),
    ...fields,
    ...(status === undefined ? {} : { httpStatus: status }),
    ...(depth > 0 || stack === undefined ? {} : { stack: scrub(stack) }),
    ...(several.length === 0 || depth >= MAX_CAUSES
      ? {}
      : { errors: several.map((each) => describe(each, depth + 1)) }),
    ...(cause === undefined || depth >= MAX_CAUSES ? {} : { cause: describe(cause, depth + 1) }),
  };
}

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  const { message } = value as { message?: unknown };
  return typeof message === 'string'
    ? message
    : `an object with ${Object.keys(value).slice(0, 10).join(', ')}`;
}
