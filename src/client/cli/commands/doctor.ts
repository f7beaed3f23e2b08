/** `longshore doctor`: looks at every real part, and says how to repair what is broken. */
import { EXIT } from '../../../core/errors.js';
import { checkParts } from '../checks.js';
import type { Check } from '../checks.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { configure } from '../session.js';
import { cleanLines } from '../text.js';

export interface DoctorOptions extends Connections {
  bucket?: string;
}

const MARKS = {
  ok: 'ok',
  warning: 'warn',
  failed: 'FAILED',
  unreachable: 'FAILED',
  skipped: 'skipped',
} as const;

export async function run(io: Io, options: DoctorOptions): Promise<number> {
  const config = configure(io, options);
  const checks = await checkParts(config, { bucket: options.bucket });
  const code = exitCode(checks);
  if (io.json)
    io.outJson({ ok: code === EXIT.ok, dataDir: config.dataDir, devFile: config.devFile ?? null, checks });
  else print(io, checks, config.devFile);
  return code;
}

function exitCode(checks: readonly Check[]): number {
  if (checks.some(({ status }) => status === 'unreachable')) return EXIT.unreachable;
  return checks.some(({ status }) => status === 'failed') ? EXIT.failed : EXIT.ok;
}

function print(io: Io, checks: readonly Check[], devFile: string | undefined): void {
  const name = Math.max(...checks.map((check) => check.part.length));
  const mark = Math.max(...checks.map((check) => MARKS[check.status].length));
  const indent = ' '.repeat(name + mark + 4);
  for (const { part, status, detail, fix } of checks) {
    const [first = '', ...rest] = cleanLines(detail);
    io.out(`${part.padEnd(name)}  ${MARKS[status].padEnd(mark)}  ${first}`);
    for (const line of rest) io.out(indent + line);
    if (fix !== null) io.out(`${indent}→ ${cleanLines(fix).join(' ')}`);
  }
  const bad = checks.filter(({ status }) => status === 'failed' || status === 'unreachable').length;
  io.err(
    bad === 0 ? 'Everything that was looked at is in order.' : `${bad} of ${checks.length} checks failed.`,
  );
  if (bad > 0 && devFile === undefined)
    io.err('No stack of `longshore dev` was found from this folder upwards.');
}
