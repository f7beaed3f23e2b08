/** What `doctor` looks at. Parts are asked at the same time; none waits longer than its time limit. */
import { LongshoreError, type ErrorCode } from '../../core/errors.js';
import type { Config } from '../../infra/config.js';
import { checkCatalog } from './checks-catalog.js';
import { checkStorage } from './checks-storage.js';
import { checkTemporal } from './checks-temporal.js';
import { asLongshoreError } from './failure.js';

/** `warning` does not count as a failure; `skipped` could not be looked at because another check failed. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'unreachable' | 'skipped';

/** A stable shape, documented in docs/cli.md. */
export interface Check {
  part: string;
  status: CheckStatus;
  detail: string;
  fix: string | null;
  /** Of core/errors, when the part said no. */
  code: ErrorCode | null;
}

export interface CheckOptions {
  bucket: string | undefined;
}

export async function checkParts(config: Config, options: CheckOptions): Promise<Check[]> {
  const parts = await Promise.all([
    checkTemporal(config),
    checkStorage(config, options.bucket),
    checkCatalog(config),
  ]);
  return [checkNode(), ...parts.flat()];
}

const LEAST_NODE = [20, 19] as const;

function checkNode(version = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const good = major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
  if (good) return ok('Node', version);
  return failed('Node', `${version} is too old`, `Install Node ${LEAST_NODE.join('.')} or newer.`);
}

export function ok(part: string, detail: string): Check {
  return { part, status: 'ok', detail, fix: null, code: null };
}

export function warning(part: string, detail: string, fix: string): Check {
  return { part, status: 'warning', detail, fix, code: null };
}

export function failed(part: string, detail: string, fix: string): Check {
  return { part, status: 'failed', detail, fix, code: null };
}

export function unreachable(part: string, detail: string, fix: string): Check {
  return { part, status: 'unreachable', detail, fix, code: null };
}

export function skipped(part: string, detail: string): Check {
  return { part, status: 'skipped', detail, fix: null, code: null };
}

const AWAY: ReadonlySet<ErrorCode> = new Set([
  'TemporalUnavailable',
  'S3Unavailable',
  'CatalogUnavailable',
  'SlowDown',
]);

/** From what a part threw. */
export function fromError(part: string, thrown: unknown, fix?: string): Check {
  const error = asLongshoreError(thrown);
  const status = AWAY.has(error.code) ? 'unreachable' : 'failed';
  return { part, status, detail: error.message, fix: fix ?? error.hint, code: error.code };
}

/** Ends a question that gets no answer. */
export async function within<T>(ms: number, part: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const code =
        part === 'PostgreSQL'
          ? 'CatalogUnavailable'
          : part === 'S3'
            ? 'S3Unavailable'
            : 'TemporalUnavailable';
      reject(new LongshoreError(code, `no answer within ${ms / 1000} s`, { op: 'doctor' }));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
