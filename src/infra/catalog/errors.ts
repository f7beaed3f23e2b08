/** What a failure of PostgreSQL, or of the way to it, means to us. */
import { LongshoreError } from '../../core/errors.js';

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  // The folder of a Unix socket is there only while the server is.
  'ENOENT',
]);

/** What pg says without a code when a connection is lost or an answer does not come. */
const LOST =
  /connection terminated|timeout exceeded when trying to connect|timeout expired|query read timeout|connection error and is not queryable|client was closed|server closed the connection/i;

/** Classes of SQLSTATE that pass: connection, resources, operator's intervention (shutdown, start, cancelled), system. */
const PASSING_CLASS = new Set(['08', '53', '57', '58']);
/** Serialization failure, deadlock, lock not available, and a replica that is not yet primary. */
const PASSING_STATE = new Set(['40001', '40P01', '55P03', '25006', '25P03']);

const SQLSTATE = /^[0-9A-Z]{5}$/;

interface Known {
  code?: unknown;
  message?: unknown;
  errors?: unknown;
}

/**
 * CatalogUnavailable for what passes, InvalidConfig where a person must act first, InvalidInput for text that
 * PostgreSQL cannot hold, Internal for the rest. A LongshoreError stays what it is.
 */
export function catalogError(error: unknown, op: string): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const code = codeOf(error);
  const message = messageOf(error);
  const about = (hint?: string) => ({ op, cause: error, hint });
  if (code !== undefined && SQLSTATE.test(code) && !UNREACHABLE.has(code)) {
    return fromState(code, message, about);
  }
  if ((code !== undefined && UNREACHABLE.has(code)) || LOST.test(message)) {
    return new LongshoreError('CatalogUnavailable', `PostgreSQL cannot be reached: ${message}`, about());
  }
  if (/^SASL|password must be a string|does not support SSL|certificate/i.test(message)) {
    return new LongshoreError(
      'InvalidConfig',
      `PostgreSQL refuses the connection: ${message}`,
      about(LOGIN_HINT),
    );
  }
  return new LongshoreError('Internal', `the catalog failed: ${message}`, about());
}

const LOGIN_HINT = 'Check user, password, database and sslmode in DATABASE_URL (or the PG variables).';

function fromState(
  state: string,
  message: string,
  about: (hint?: string) => { op: string; cause: unknown; hint: string | undefined },
): LongshoreError {
  const said = `${message} (SQLSTATE ${state})`;
  if (state === '53100') {
    const hint = 'Make room on the disk of PostgreSQL; it is tried again meanwhile.';
    return new LongshoreError('CatalogUnavailable', `PostgreSQL has no room left: ${said}`, about(hint));
  }
  const kind = state.slice(0, 2);
  if (PASSING_CLASS.has(kind) || PASSING_STATE.has(state)) {
    return new LongshoreError('CatalogUnavailable', `PostgreSQL is not available: ${said}`, about());
  }
  if (kind === '28' || state === '3D000') {
    return new LongshoreError(
      'InvalidConfig',
      `PostgreSQL refuses the connection: ${said}`,
      about(LOGIN_HINT),
    );
  }
  if (state === '42P01' || state === '42703' || state === '3F000') {
    return new LongshoreError('InvalidConfig', `the tables are missing or old: ${said}`, about(MIGRATE_HINT));
  }
  if (state === '42501') {
    return new LongshoreError(
      'InvalidConfig',
      `PostgreSQL denies it: ${said}`,
      about('Let the database user own the schema.'),
    );
  }
  if (state === '22021' || state === '22P05') {
    return new LongshoreError(
      'InvalidInput',
      `a text holds a character that PostgreSQL cannot: ${said}`,
      about(),
    );
  }
  return new LongshoreError('Internal', `the catalog failed: ${said}`, about());
}

export const MIGRATE_HINT = 'Run `longshore migrate`.';

function codeOf(error: unknown): string | undefined {
  const { code, errors } = (error ?? {}) as Known;
  if (typeof code === 'string') return code;
  // Several addresses of one host were tried, and each failed for itself.
  if (Array.isArray(errors)) return errors.map(codeOf).find((each) => each !== undefined);
  return undefined;
}

function messageOf(error: unknown): string {
  const { message, errors } = (error ?? {}) as Known;
  if (typeof message === 'string' && message !== '') return message;
  if (Array.isArray(errors)) return errors.map(messageOf).join('; ');
  return String(error);
}
