/** Temporal's SDK in a test's own process tells of errors only: much of what happens in tests is meant to go wrong. */
import { DefaultLogger, Runtime } from '@temporalio/worker';

let quiet = false;

/** Once a process, before anything of the SDK is made. */
export function quietTemporal(): void {
  if (quiet) return;
  quiet = true;
  const logging = { filter: { core: 'ERROR', other: 'ERROR' } as const };
  Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging } });
}
