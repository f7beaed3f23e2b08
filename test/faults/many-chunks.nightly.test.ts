/** As many chunks as S3 permits, 48.8 GiB: history and memory stay in bounds. */
import { expect, it } from 'vitest';
import { MAX_PARTS, MiB } from '../../src/core/limits.js';
import { uploadChunks } from '../helpers/chunk-upload.js';

it('10,000 chunks: under 2,500 events of history, and under 300 MiB of memory in the API', async () => {
  const { historyEvents, peakMemory } = await uploadChunks(MAX_PARTS);
  expect(historyEvents).toBeLessThan(2500);
  expect(peakMemory).toBeLessThan(300 * MiB);
});
