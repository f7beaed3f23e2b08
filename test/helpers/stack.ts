/** The real parts that tests run against, as the global setup provides them. */
import { inject } from 'vitest';

export interface S3Address {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
}

export interface Parts {
  temporal: { address: string; ui: string };
  versitygw: S3Address;
  minio: S3Address;
  postgres: { url: string };
  /** The Temporal server that skips time: a program, started by each suite that wants one. */
  testServer: { bin: string };
}

export type PartName = keyof Parts;
export const PART_NAMES = [
  'temporal',
  'versitygw',
  'minio',
  'postgres',
  'testServer',
] as const satisfies PartName[];

export interface Stack extends Partial<Parts> {
  /** Left out by LONGSHORE_TEST_SKIP. */
  skipped: PartName[];
  /** Why a part could not be had, with the ways out. */
  missing: Partial<Record<PartName, string>>;
  /** Why dist/ could not be built: what would be tested is not these sources. */
  broken: Partial<Record<'workflows' | 'programs', string>>;
  /** Where the processes that tests start are written down. */
  registry: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    stack: Stack;
  }
}

/** A part's address. Throws with the ways out when it could not be had: a suite never passes by running on nothing. */
export function part<Name extends PartName>(name: Name): Parts[Name] {
  // Typed as present, but absent in projects without a global setup.
  const stack = inject('stack') as Stack | undefined;
  const found = stack?.[name] as Parts[Name] | undefined;
  if (found !== undefined) return found;
  if (isSkipped(name))
    throw new Error(`${name} is left out by LONGSHORE_TEST_SKIP; use describe.skipIf(isSkipped('${name}'))`);
  throw new Error(
    stack?.missing[name] ??
      `${name} is not among the parts of this project; see NEEDS in test/helpers/global-setup.ts`,
  );
}

/** For `describe.skipIf`: a person left the part out, and the suite is counted as skipped. */
export function isSkipped(...names: PartName[]): boolean {
  const stack = inject('stack') as Stack | undefined;
  return names.some((name) => stack?.skipped.includes(name) === true);
}

/** Throws when dist/ does not come from these sources. */
export function requireBuilt(what: 'workflows' | 'programs'): void {
  const reason = (inject('stack') as Stack | undefined)?.broken[what];
  if (reason !== undefined) throw new Error(`the build of ${what} failed:\n${reason}`);
}
