/**
 * Buffers for parts, within one budget for the whole worker. Released buffers are kept for parts of the same size:
 * allocating 8 MiB anew for each part costs page faults, and mixing sizes grows the heap without bound.
 */
export interface BufferPool {
  /** A buffer of exactly `size` bytes, content undefined; waits while the budget is used up. */
  acquire(size: number, signal: AbortSignal): Promise<Buffer>;
  release(buffer: Buffer): void;
}

interface Waiter {
  size: number;
  grant(buffer: Buffer): void;
}

export function createBufferPool(budget: number): BufferPool {
  const free: Buffer[] = [];
  const waiting: Waiter[] = [];
  let allocated = 0;

  const take = (size: number): Buffer | undefined => {
    const index = free.findLastIndex((buffer) => buffer.byteLength === size);
    if (index >= 0) return free.splice(index, 1)[0];
    while (allocated + size > budget && free.length > 0) allocated -= (free.shift() as Buffer).byteLength;
    // One buffer is always granted: a part larger than the budget must not wait for ever.
    if (allocated + size > budget && allocated > 0) return undefined;
    const buffer = Buffer.allocUnsafeSlow(size);
    allocated += size;
    return buffer;
  };

  const serve = (): void => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const buffer = take(next.size);
      if (buffer === undefined) return;
      waiting.shift();
      next.grant(buffer);
    }
  };

  return {
    acquire(size, signal) {
      signal.throwIfAborted();
      const buffer = waiting.length === 0 ? take(size) : undefined;
      if (buffer !== undefined) return Promise.resolve(buffer);
      return new Promise((resolve, reject) => {
        const waiter = {
          size,
          grant: (granted: Buffer) => {
            signal.removeEventListener('abort', abandon);
            resolve(granted);
          },
        };
        const abandon = (): void => {
          waiting.splice(waiting.indexOf(waiter), 1);
          reject(signal.reason as Error);
          serve();
        };
        signal.addEventListener('abort', abandon, { once: true });
        waiting.push(waiter);
      });
    },
    release(buffer) {
      free.push(buffer);
      serve();
    },
  };
}
