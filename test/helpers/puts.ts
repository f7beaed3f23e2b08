/** What a fault proxy saw of a job: objects and parts that were sent more than once, and what is under way. */
import type { FaultProxy } from './fault-proxy.js';
import type { Call } from './faults.js';
import { eventually } from './wait.js';

/** Every request that carries bytes of a job, in the order of arrival. */
export function puts(proxy: FaultProxy, bucket: string): Call[] {
  return proxy.log.filter((call) => call.bucket === bucket && (isPut(call) || call.op === 'UploadPart'));
}

/** Objects that S3 has confirmed. */
export function sentSmall(proxy: FaultProxy, bucket: string): number {
  return puts(proxy, bucket).filter((call) => isPut(call) && call.status === 200).length;
}

export function sentParts(proxy: FaultProxy, bucket: string): number {
  return puts(proxy, bucket).filter((call) => call.part !== undefined && call.status === 200).length;
}

export async function untilSent(
  proxy: FaultProxy,
  bucket: string,
  least: { small: number; parts?: number },
): Promise<void> {
  await eventually(
    () => sentSmall(proxy, bucket) >= least.small && sentParts(proxy, bucket) >= (least.parts ?? 0),
    { timeout: 60_000, interval: 25, what: `${least.small} objects and ${least.parts ?? 0} parts in S3` },
  );
}

export interface SentTwice {
  objects: number;
  parts: number;
  /** Milliseconds before `since` when the earliest of them was begun for the first time. */
  earliest: number;
}

/** Objects and parts that were begun twice, whatever came of them. `since`: a `performance.now()`. */
export function sentTwice(proxy: FaultProxy, bucket: string, since = performance.now()): SentTwice {
  const first = new Map<string, Call>();
  const again = new Map<string, Call>();
  for (const call of puts(proxy, bucket)) {
    const name = `${call.key}#${call.part ?? ''}`;
    const earlier = first.get(name);
    if (earlier === undefined) first.set(name, call);
    else again.set(name, earlier);
  }
  const all = [...again.values()];
  return {
    objects: all.filter(isPut).length,
    parts: all.filter((call) => !isPut(call)).length,
    earliest: all.length === 0 ? 0 : since - Math.min(...all.map(({ at }) => at)),
  };
}

function isPut(call: Call): boolean {
  return call.op === 'PutObject';
}
