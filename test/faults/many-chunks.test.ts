/** Many chunks of one session: history and memory stay in bounds. The most that S3 permits are tried nightly. */
import { expect, it } from 'vitest';
import { MiB } from '../../src/core/limits.js';
import { uploadChunks } from '../helpers/chunk-upload.js';

it('500 chunks: under 100 events of history, and under 300 MiB of memory in the API', async () => {
  const { historyEvents, peakMemory } = await uploadChunks(500);
  expect(historyEvents).toBeLessThan(100);
  expect(peakMemory).toBeLessThan(300 * MiB);
});
