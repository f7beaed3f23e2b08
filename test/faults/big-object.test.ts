/** Many parts: history and memory stay in bounds. The most that S3 permits are tried nightly. */
import { expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { uploadSparse } from '../helpers/sparse-upload.js';

it('2,000 parts: under 300 events of history, and under 300 MiB of memory in the worker', async () => {
  const { historyEvents, peakMemory } = await uploadSparse(2000);
  expect(historyEvents).toBeLessThan(300);
  expect(peakMemory).toBeLessThan(300 * MiB);
});
