/** What a fault proxy saw of one bucket's parts: how much was sent twice, and when sending went on. */
import { MIN_PART_SIZE } from '../../src/core/limits.js';
import type { FaultProxy } from './fault-proxy.js';
import type { Call } from './faults.js';
import { eventually } from './wait.js';

/** Body bytes of parts beyond the object's own, those of broken requests included. */
export function bytesTwice(proxy: FaultProxy, bucket: string, size: number): number {
  const parts = [...proxy.parts({ bucket }).values()];
  return parts.reduce((sum, { bytes }) => sum + bytes, 0) - size;
}

/** Parts that were sent again although S3 had confirmed them before. */
export function confirmedTwice(proxy: FaultProxy, bucket: string): number[] {
  const confirmed = new Set<number>();
  const again: number[] = [];
  for (const { part, status } of partCalls(proxy, bucket)) {
    if (part === undefined) continue;
    if (confirmed.has(part)) again.push(part);
    if (status === 200) confirmed.add(part);
  }
  return again;
}

/**
 * Waits for the first part that was begun after `since` (a `performance.now()`) and confirmed, and gives the
 * milliseconds between. What a dead process left in its sockets is never confirmed to it.
 */
export async function nextPartAfter(proxy: FaultProxy, bucket: string, since: number): Promise<number> {
  const call = await eventually(
    () => partCalls(proxy, bucket).find(({ at, status }) => at > since && status === 200),
    { timeout: 60_000, interval: 20, what: 'a part sent by another worker' },
  );
  return call.at - since;
}

export function partCalls(proxy: FaultProxy, bucket: string): Call[] {
  return proxy.log.filter((call) => call.op === 'UploadPart' && call.bucket === bucket);
}

/** Waits until a part is under way of which S3 has some bytes, but not all. */
export async function untilMidPart(proxy: FaultProxy, bucket: string): Promise<void> {
  const half = (call: Call): boolean =>
    call.status === undefined && call.bytes >= MIN_PART_SIZE / 4 && call.bytes <= MIN_PART_SIZE;
  await eventually(() => partCalls(proxy, bucket).some(half), {
    timeout: 30_000,
    interval: 5,
    what: 'a part under way',
  });
}
