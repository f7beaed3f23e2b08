import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Readable } from 'node:stream';
import type { Pool } from '../../src/infra/catalog/pool.js';
import { createLimits, type Lease, type Limits } from '../../src/infra/limits.js';
import { createBucket } from '../../src/infra/token-bucket.js';

const live = (): AbortSignal => new AbortController().signal;

describe('token bucket', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => vi.useRealTimers());

  /** Bytes that went through within the given time. */
  async function through(
    bucket: ReturnType<typeof createBucket>,
    piece: number,
    ms: number,
  ): Promise<number> {
    const stop = new AbortController();
    let bytes = 0;
    const taking = (async () => {
      for (;;) {
        await bucket.take(piece, stop.signal);
        bytes += piece;
      }
    })().catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(ms);
    stop.abort(new Error('enough'));
    await taking;
    return bytes;
  }

  it('lets nothing through before a rate is known', async () => {
    const bucket = createBucket();
    let granted = false;
    const taken = bucket.take(0, live()).then(() => (granted = true));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(granted).toBe(false);
    bucket.setRate(Infinity);
    await taken;
  });

  it('keeps the mean, whatever the size of the pieces', async () => {
    for (const piece of [10, 1_000, 5_000]) {
      const bucket = createBucket();
      bucket.setRate(1_000);
      const bytes = await through(bucket, piece, 20_000);
      expect(bytes).toBeGreaterThan(20_000 - piece - 200);
      expect(bytes).toBeLessThanOrEqual(20_000 + piece + 200);
    }
  });

  it('lets at most a second be caught up with', async () => {
    const bucket = createBucket();
    bucket.setRate(1_000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await through(bucket, 10, 1_000)).toBeLessThanOrEqual(2_050);
  });

  it('takes a lower rate at once, without the debt of the higher one', async () => {
    const bucket = createBucket();
    bucket.setRate(1_000_000);
    await bucket.take(1_000_000, live());
    bucket.setRate(1_000);
    const bytes = await through(bucket, 100, 4_000);
    expect(bytes).toBeGreaterThan(2_500);
    expect(bytes).toBeLessThan(4_300);
  });

  it('lets those who wait go when the limit is taken away', async () => {
    const bucket = createBucket();
    bucket.setRate(1);
    await bucket.take(1_000, live());
    const waiting = Promise.all([bucket.take(1_000, live()), bucket.take(1_000, live())]);
    bucket.setRate(Infinity);
    await waiting;
  });

  it('gives up with the reason of the signal, and lets the next one pass', async () => {
    const bucket = createBucket();
    bucket.setRate(1_000);
    await bucket.take(2_000, live());
    const first = new AbortController();
    const waiting = expect(bucket.take(10, first.signal)).rejects.toThrow('changed my mind');
    const next = bucket.take(10, live());
    first.abort(new Error('changed my mind'));
    await waiting;
    await vi.advanceTimersByTimeAsync(2_100);
    await next;
  });
});

/** Leases as the catalog keeps them, for a job whose limits the test sets. */
class FakeCatalog {
  bandwidth: number | null = null;
  concurrency: number | null = null;
  readonly holders = new Set<string>();
  asked = 0;
  broken = false;

  readonly pool = {
    query: (statement: { name: string; values: unknown[] }) => this.query(statement),
  } as Pool;

  private query({ name, values }: { name: string; values: unknown[] }): Promise<{ rows: unknown[] }> {
    const holder = String(values[1]);
    if (this.broken) return Promise.reject(new Error('the catalog is away'));
    if (name === 'drop-lease') {
      this.holders.delete(holder);
      return Promise.resolve({ rows: [] });
    }
    this.asked += 1;
    this.holders.add(holder);
    const rank = [...this.holders].sort().indexOf(holder);
    const { bandwidth, concurrency } = this;
    return Promise.resolve({ rows: [{ holders: this.holders.size, rank, bandwidth, concurrency }] });
  }
}

describe('limits', () => {
  let catalog: FakeCatalog;
  let open: Limits[];
  const RENEW = 20;
  const limitsOf = (): Limits => {
    const limits = createLimits(catalog.pool, { renewMs: RENEW });
    open.push(limits);
    return limits;
  };
  const ready = async (...leases: Lease[]): Promise<void> => {
    await Promise.all(leases.map((lease) => lease.take(0, live())));
    await sleep(RENEW * 3);
  };
  beforeEach(() => {
    catalog = new FakeCatalog();
    open = [];
  });
  afterEach(async () => {
    await Promise.all(open.map((limits) => limits.close()));
    expect(catalog.holders.size).toBe(0);
  });

  it('begins nothing before it knows the limits', async () => {
    const lease = limitsOf().lease(1);
    expect(lease.width(16)).toBe(0);
    await lease.take(0, live());
    expect(lease.width(16)).toBe(16);
  });

  it('never deals out more files than there may be, nor fewer', async () => {
    for (const concurrency of [1, 2, 3, 7, 40]) {
      catalog.concurrency = concurrency;
      const processes = [limitsOf(), limitsOf(), limitsOf()];
      const leases = processes.flatMap((limits) => [limits.lease(1), limits.lease(1)]);
      await ready(...leases);
      expect(leases.reduce((sum, lease) => sum + lease.width(16), 0)).toBe(concurrency);
      await Promise.all(processes.map((limits) => limits.close()));
    }
  });

  it('renews one lease for all activities of a process', async () => {
    const limits = limitsOf();
    const leases = [limits.lease(1), limits.lease(1), limits.lease(1)];
    await ready(...leases);
    expect(catalog.holders.size).toBe(1);
    await Promise.all(leases.map((lease) => lease.close()));
    await vi.waitFor(() => expect(catalog.holders.size).toBe(0));
    const { asked } = catalog;
    await sleep(RENEW * 4);
    expect(catalog.asked).toBe(asked);
  });

  it('follows limits that change, and shares them with who comes', async () => {
    const first = limitsOf().lease(1);
    await ready(first);
    expect(first.width(16)).toBe(16);
    catalog.concurrency = 6;
    await vi.waitFor(() => expect(first.width(16)).toBe(6));
    const second = limitsOf().lease(1);
    await vi.waitFor(() => expect([first.width(16), second.width(16)]).toEqual([3, 3]));
    catalog.concurrency = null;
    await vi.waitFor(() => expect([first.width(16), second.width(16)]).toEqual([16, 16]));
  });

  it('goes on with what it last knew while the catalog is away', async () => {
    catalog.concurrency = 4;
    const lease = limitsOf().lease(1);
    await ready(lease);
    catalog.broken = true;
    await sleep(RENEW * 3);
    expect(lease.width(16)).toBe(4);
    catalog.broken = false;
    catalog.concurrency = 2;
    await vi.waitFor(() => expect(lease.width(16)).toBe(2));
  });

  it('leaves bodies alone without a limit, and paces them with one', async () => {
    const lease = limitsOf().lease(1);
    await ready(lease);
    const body = Buffer.alloc(30_000, 'x');
    expect(lease.pace(body, live())).toBe(body);
    catalog.bandwidth = 20_000;
    await vi.waitFor(() => expect(lease.pace(body, live())).not.toBe(body));
    const paced = lease.pace(body, live()) as { length: number; open(): Readable };
    expect(paced.length).toBe(30_000);
    const began = performance.now();
    const chunks = (await paced.open().toArray()) as Buffer[];
    expect(Buffer.concat(chunks).equals(body)).toBe(true);
    expect(performance.now() - began).toBeGreaterThan(1_000);
  });

  it('lets parts of large files have none of the files, but of the bytes', async () => {
    catalog.concurrency = 4;
    catalog.bandwidth = 1_000_000;
    const limits = limitsOf();
    const [files, parts] = [limits.lease(1), limits.lease(1, 'bytes')];
    await ready(files, parts);
    expect([files.width(16), parts.width(16)]).toEqual([4, 0]);
    const body = Buffer.alloc(30_000);
    expect(parts.pace(body, live())).not.toBe(body);
    // What holds no files keeps the lease all the same.
    await files.close();
    await sleep(RENEW * 5);
    expect(catalog.holders.size).toBe(1);
  });

  it('slows a body down that was under way when the limit came', async () => {
    const lease = limitsOf().lease(1);
    await ready(lease);
    const chunk = 512 * 1024;
    const body = { length: 40 * chunk, open: () => Readable.from(Array(40).fill(Buffer.alloc(chunk))) };
    for (const whole of [body, Buffer.alloc(body.length)]) {
      const paced = lease.pace(whole, live()) as { open(): Readable };
      const reader = paced.open()[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      await reader.next();
      catalog.bandwidth = 1024 * 1024;
      await sleep(RENEW * 4);
      let came = 0;
      const began = performance.now();
      while (performance.now() - began < 1_000) came += ((await reader.next()).value as Buffer).length;
      expect(came).toBeLessThan(4 * 1024 * 1024);
      await reader.return?.();
      catalog.bandwidth = null;
      await sleep(RENEW * 4);
    }
  });
});
