/** As many parts as S3 permits, 48.8 GiB: history and memory stay in bounds. */
import { expect, it } from 'vitest';
import { MAX_PARTS, MiB } from '../../src/core/limits.js';
import { uploadSparse } from '../helpers/sparse-upload.js';

it('10,000 parts: under 1,500 events of history, and under 300 MiB of memory in the worker', async () => {
  const { historyEvents, peakMemory } = await uploadSparse(MAX_PARTS);
  expect(historyEvents).toBeLessThan(1500);
  expect(peakMemory).toBeLessThan(300 * MiB);
});
