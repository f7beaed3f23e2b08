/** The counting sink as a forked process: `counting-sink-main.ts KEYS`. Sends its endpoint once, then its counts when asked. */
import { startCountingSink } from './counting-sink.js';

const sink = await startCountingSink(Number(process.argv[2]));
process.once('SIGTERM', () => process.exit(0));
// Ends with its starter, whatever ended that one.
process.once('disconnect', () => process.exit(0));
process.on('message', (question) => {
  if (question === 'counts') process.send?.(sink.counts());
});
process.send?.({ endpoint: sink.endpoint });
