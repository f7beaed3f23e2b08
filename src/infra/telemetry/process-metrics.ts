/** Memory, CPU and promptness of this process. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Meter } from '@opentelemetry/api';

export function observeProcess(meter: Meter): void {
  meter
    .createObservableGauge('process_resident_memory_bytes', { description: 'Memory that the process holds' })
    .addCallback((result) => result.observe(process.memoryUsage.rss()));
  meter
    .createObservableCounter('process_cpu_seconds_total', { description: 'CPU time, user and system' })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage();
      result.observe((user + system) / 1e6);
    });
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  meter
    .createObservableGauge('nodejs_eventloop_delay_p99_seconds', {
      description: 'How late timers were since the last reading, 99th percentile',
    })
    .addCallback((result) => {
      // NaN until the first sample.
      result.observe((delay.percentile(99) || 0) / 1e9);
      delay.reset();
    });
}
