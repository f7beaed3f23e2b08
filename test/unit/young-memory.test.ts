import { constants, PerformanceObserver } from 'node:perf_hooks';
import { afterEach, beforeEach, it } from 'vitest';
import { KiB, MiB } from '../../src/core/limits.js';
import { bytesPassed } from '../../src/infra/young-memory.js';
import { eventually, stays } from '../helpers/wait.js';

interface Collection {
  kind: number;
  flags: number;
}

let asked = 0;
let observer: PerformanceObserver;

beforeEach(() => {
  asked = 0;
  observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind, flags } = (entry as unknown as { detail: Collection }).detail;
      const forced = (flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0;
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR && forced) asked += 1;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
});
afterEach(() => observer.disconnect());

it('asks for a small collection now and then, as bytes pass', async () => {
  for (let passed = 0; passed < 50 * MiB; passed += 64 * KiB) bytesPassed(64 * KiB);
  await eventually(() => asked === 3);
});

it('asks for none while little passes', async () => {
  bytesPassed(MiB);
  await stays(() => asked === 0, 200);
});
