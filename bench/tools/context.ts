/** Activities without Temporal. */
import { Context } from '@temporalio/activity';

/** As much of a context as our activities ask for: nobody cancels, and heartbeats go nowhere. */
export function context(): Context {
  const client = {
    withDeadline: (_deadline: number, call: () => Promise<void>) => call(),
    activity: { heartbeat: () => Promise.resolve() },
  };
  const info = { attempt: 1, activityType: 'bench', taskToken: new Uint8Array(), heartbeatTimeoutMs: 10_000 };
  const cancelled = new Promise<never>(() => undefined);
  const parts = [info, cancelled, new AbortController().signal, () => undefined, client] as const;
  return new (Context as unknown as new (...args: readonly unknown[]) => Context)(
    ...parts,
    undefined,
    undefined,
    {},
  );
}
