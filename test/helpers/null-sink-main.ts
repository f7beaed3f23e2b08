/** The null sink as a forked process: it sends its endpoint once, then its state whenever it is asked. */
import { startNullSink } from './null-sink.js';

const sink = await startNullSink();
process.once('SIGTERM', () => process.exit(0));
// Ends with its starter, whatever ended that one.
process.once('disconnect', () => process.exit(0));
process.on('message', (question) => {
  if (question !== 'state') return;
  process.send?.({ objects: [...sink.objects], uploads: sink.uploads.size });
});
process.send?.({ endpoint: sink.endpoint });
