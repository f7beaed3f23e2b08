/** Names of what was built. Sources are relative to the repository; `clean` leaves nothing of an earlier build. */
export function buildPrograms(options?: {
  entries?: Record<string, string>;
  outdir?: string;
  clean?: boolean;
}): Promise<string[]>;
