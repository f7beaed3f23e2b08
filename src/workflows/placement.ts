/** Which workers can take a step: those that can read its source. */
import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import { QUEUES, rootQueue } from '../core/ids.js';
import type { Source } from '../core/uploads.js';
import { BUSY_QUEUE_WAIT, PROBE, ROOT_QUEUE_WAIT } from './activity-options.js';
import type { Control } from './control.js';
import { isUnclaimed, view } from './failures.js';

const { ping } = proxyActivities<TransferActivities>(PROBE);

export function queueOf(source: Source): string {
  return source.kind === 'file' ? rootQueue(source.root) : QUEUES.transfer;
}

export class Placement {
  constructor(
    private readonly taskQueue: string,
    private readonly control: Control,
  ) {}

  /**
   * Runs a step where its source is. While no worker takes it the upload is BLOCKED, until one answers: then the step
   * waits its turn for longer, for workers that are there but busy are no reason to block.
   */
  async run<T>(step: (options: ActivityOptions) => Promise<T>): Promise<T> {
    const { taskQueue } = this;
    for (let patience: string = ROOT_QUEUE_WAIT; ; patience = BUSY_QUEUE_WAIT) {
      const impatient = taskQueue === QUEUES.transfer ? {} : { scheduleToStartTimeout: patience };
      try {
        return await this.control.parking(() => step({ taskQueue, ...impatient }), isUnclaimed);
      } catch (error) {
        if (!isUnclaimed(error)) throw error;
      }
      const why = `no worker took a task from ${taskQueue} within ${patience}: none has this root, or all are busy`;
      await this.control.blockedUntil(view('NoWorkerForSource', why), () =>
        ping.executeWithOptions({ taskQueue, summary: 'is a worker there?' }, []),
      );
    }
  }
}
