/** Reads one setting after the other from flags and environment, and says which one is wrong, and how. */
import type * as z from 'zod';
import { LongshoreError } from '../core/errors.js';

/** What a command line may override. Values are spelled as in the environment; numbers are bytes or milliseconds. */
export interface ConfigFlags {
  dataDir?: string | undefined;
  temporalAddress?: string | undefined;
  temporalNamespace?: string | undefined;
  databaseUrl?: string | undefined;
  s3Endpoint?: string | undefined;
  s3Region?: string | undefined;
  partSize?: string | number | undefined;
  concurrency?: string | number | undefined;
  threshold?: string | number | undefined;
  sse?: string | undefined;
  workerConcurrency?: string | number | undefined;
  memoryBudget?: string | number | undefined;
  shutdownGrace?: string | number | undefined;
  healthPort?: string | number | undefined;
  healthHost?: string | undefined;
  roots?: string | undefined;
  logLevel?: string | undefined;
  apiHost?: string | undefined;
  apiPort?: string | number | undefined;
  apiUrl?: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Setting<T> {
  flag?: keyof ConfigFlags;
  /** The first that is set counts. */
  env: readonly string[];
  schema: z.ZodType<T, string>;
  /** Its value is not shown, in errors neither. */
  secret?: boolean;
}

export class Settings {
  /** Without the empty ones: shells and compose files cannot unset a variable, only empty it. */
  readonly env: Readonly<Record<string, string>>;
  readonly warnings: string[] = [];

  constructor(
    private readonly flags: ConfigFlags,
    env: Environment,
  ) {
    this.env = Object.fromEntries(
      Object.entries(env).filter(
        (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
      ),
    );
  }

  /** undefined when neither flag nor environment has it. Throws InvalidConfig. */
  read<T>(setting: Setting<T>): T | undefined {
    const { flag, secret = false } = setting;
    const given = flag === undefined ? undefined : this.flags[flag];
    if (flag !== undefined && given !== undefined && given !== '') {
      return check(`--${SPELLED[flag] ?? kebab(flag)}`, String(given), setting.schema, secret);
    }
    const name = setting.env.find((each) => this.env[each] !== undefined);
    const value = name === undefined ? undefined : this.env[name];
    return name === undefined || value === undefined ? undefined : check(name, value, setting.schema, secret);
  }

  has(...names: string[]): boolean {
    return names.some((name) => this.env[name] !== undefined);
  }
}

export function check<T>(name: string, value: string, schema: z.ZodType<T, string>, secret: boolean): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const allowed = result.error.issues.map(({ message }) => message).join('; ');
  throw invalid(name, `${name} is ${shown(value, secret)}, but must be ${allowed}`);
}

export function invalid(name: string, message: string, cause?: unknown): LongshoreError {
  return new LongshoreError('InvalidConfig', message, { op: 'loadConfig', key: name, cause });
}

const LONGEST_SHOWN = 200;

function shown(value: string, secret: boolean): string {
  if (secret) return '(hidden)';
  const safe = hidePassword(value);
  return JSON.stringify(safe.length > LONGEST_SHOWN ? `${safe.slice(0, LONGEST_SHOWN)}…` : safe);
}

/**
 * Hides what stands between `//` and `@`, up to the last `@` before the path, for passwords hold `@` unescaped
 * sometimes, and the values of parameters that look like secrets.
 */
export function hidePassword(value: string): string {
  return value
    .replace(/(:\/\/)[^/?#\s]*@/g, '$1***@')
    .replace(/([?&][^=&#]*(?:password|token|signature|secret|credential)[^=&#]*=)[^&#\s]*/gi, '$1***');
}

/** Where the command line has a shorter name. */
const SPELLED: Partial<Record<keyof ConfigFlags, string>> = {
  temporalNamespace: 'namespace',
  workerConcurrency: 'concurrency',
  apiHost: 'host',
  apiPort: 'port',
  apiUrl: 'api',
};

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
