/** Which workers can take a step: those that can read its source. */
import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { TransferActivities } from '../activities/uploads.js';
import { QUEUES, rootQueue } from '../core/ids.js';
import type { Source } from '../core/uploads.js';
import { PROBE, ROOT_QUEUE_WAIT } from './activity-options.js';
import type { Control } from './control.js';
import { isUnclaimed, view } from './failures.js';

const probes = proxyActivities<Pick<TransferActivities, 'ping'>>(PROBE);

export class Placement {
  private readonly taskQueue: string;
  private readonly options: ActivityOptions;

  constructor(
    source: Source,
    private readonly control: Control,
  ) {
    this.taskQueue = source.kind === 'file' ? rootQueue(source.root) : QUEUES.transfer;
    this.options =
      source.kind === 'file'
        ? { taskQueue: this.taskQueue, scheduleToStartTimeout: ROOT_QUEUE_WAIT }
        : { taskQueue: this.taskQueue };
  }

  /** Runs a step where its source is; while no worker takes it, the upload is BLOCKED, until one is there again. */
  async run<T>(step: (options: ActivityOptions) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await this.control.parking(() => step(this.options));
      } catch (error) {
        if (!isUnclaimed(error)) throw error;
      }
      const why = `no worker took a task from ${this.taskQueue} within ${ROOT_QUEUE_WAIT}: none has this root, or all are busy`;
      await this.control.blockedUntil(view('NoWorkerForSource', why), () =>
        probes.ping.executeWithOptions({ taskQueue: this.taskQueue, summary: 'is a worker there?' }, []),
      );
    }
  }
}
