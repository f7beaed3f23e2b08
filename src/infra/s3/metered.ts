/** A store whose requests are told to a meter, each try for itself. */
import { LongshoreError } from '../../core/errors.js';
import type { StoreMeter } from '../telemetry/meter.js';
import type { ObjectStore } from './store.js';

type Request = { body?: { length: number } };
type Call = (request: Request, signal: AbortSignal) => Promise<unknown>;

/** Every method but `close` is one request, or a few that belong together. */
export function metered(store: ObjectStore, meter: StoreMeter): ObjectStore {
  const calls: Record<string, unknown> = { ...store };
  for (const [name, call] of Object.entries(calls)) {
    if (name !== 'close') calls[name] = timed(nameOf(name), call as Call, meter);
  }
  return calls as unknown as ObjectStore;
}

function timed(op: string, call: Call, meter: StoreMeter): Call {
  return async (request, signal) => {
    const began = performance.now();
    const told = (outcome: string): void =>
      meter.request(op, outcome, (performance.now() - began) / 1000, request.body?.length ?? 0);
    try {
      const answer = await call(request, signal);
      told('ok');
      return answer;
    } catch (error) {
      // What was given up on our side says nothing about the server.
      if (!signal.aborted) told(error instanceof LongshoreError ? error.code : 'Internal');
      throw error;
    }
  };
}

/** As S3 names its operations. */
function nameOf(method: string): string {
  return `${method.charAt(0).toUpperCase()}${method.slice(1)}`;
}
