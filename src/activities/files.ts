/** `uploadFiles`: a batch of small files. What an earlier attempt sent is in the catalog, and is not sent again. */
import type { BatchInput, BatchResult } from '../core/job-steps.js';
import { MAX_IN_FLIGHT_BYTES } from '../core/limits.js';
import { createBufferPool } from '../infra/buffers.js';
import { claimBatch, endBatch, settleFiles, type FileOutcome } from '../infra/catalog/files.js';
import type { Limits } from '../infra/limits.js';
import { withRetries } from '../infra/s3/retrying.js';
import type { Roots } from '../infra/sources/file-open.js';
import { openSmallFiles } from '../infra/sources/small-files.js';
import { attempting, type Attempt } from './attempt.js';
import { createFileJobs, type FileJob, type FileJobDeps } from './file-job.js';
import { FileSender, type SenderDeps } from './file-sender.js';
import { OutcomeWriter } from './outcomes.js';

export interface UploadFilesDeps extends FileJobDeps {
  roots: Roots;
  limits: Limits;
}

/**
 * Sends the batch's files that are PENDING. Told to stop, it returns what it has, `finished: false`. Files fail each for
 * itself; it throws what concerns them all.
 */
export function createUploadFiles(deps: UploadFilesDeps): (input: BatchInput) => Promise<BatchResult> {
  const jobs = createFileJobs(deps);
  // One for all batches of the process: how many run at once must not decide what they hold in memory.
  const buffers = createBufferPool(MAX_IN_FLIGHT_BYTES);
  return async (input) => {
    let sender: FileSender | undefined;
    return await attempting(
      async (attempt) => {
        if (attempt.previous > 0) await attempt.confirm();
        const job = await jobs(input, attempt.signal);
        const pending = await claimBatch(deps.db, input, input.batch);
        const result = await sending(deps, { job, number: input.job }, async (held) => {
          const outcomes = writerOf(deps, input, attempt);
          sender = new FileSender({ ...held, job, attempt, buffers, outcomes, store: deps.store });
          return await sender.run(pending);
        });
        await endBatch(deps.db, input, input.batch);
        return result;
      },
      () => sender?.heartbeat(input.batch),
    );
  };
}

/** Opens the folder and takes the lease, and gives both back. */
async function sending<T>(
  { roots, limits }: UploadFilesDeps,
  { job, number }: { job: FileJob; number: number },
  body: (held: Pick<SenderDeps, 'files' | 'lease'>) => Promise<T>,
): Promise<T> {
  const { source, filter } = job.definition;
  const files = await openSmallFiles(roots, source, { follow: filter.symlinks === 'follow' });
  const lease = limits.lease(number);
  try {
    return await body({ files, lease });
  } finally {
    files.close();
    await lease.close();
  }
}

function writerOf({ db }: UploadFilesDeps, input: BatchInput, attempt: Attempt): SenderDeps['outcomes'] {
  const save = (outcomes: FileOutcome[]): Promise<void> =>
    withRetries(() => settleFiles(db, input, input.batch, outcomes), attempt.fenceSignal);
  return (onFailure) => new OutcomeWriter(save, onFailure);
}
