/** Names of what was built. Sources are relative to the repository; `clean` leaves no chunk of an earlier build. */
export function buildPrograms(options?: {
  entries?: Record<string, string>;
  outdir?: string;
  clean?: boolean;
}): Promise<string[]>;

/** Whether it was built; not when it was up to date. */
export function buildWorkflows(options?: { force?: boolean }): Promise<boolean>;
