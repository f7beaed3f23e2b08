/** Objects of files that are gone from the folder. So many at once that it may be a mistake wait for a person's word. */
import { condition, proxyActivities } from '@temporalio/workflow';
import type { JobTransferActivities } from '../activities/jobs.js';
import type { DeletionLook } from '../core/job-steps.js';
import { WALK } from './activity-options.js';
import { view } from './failures.js';
import type { JobContext } from './job-context.js';
import { grouped } from './job-details.js';

const { lookAtDeletions, deleteGone } = proxyActivities<JobTransferActivities>(WALK);

const SLICE = 10_000;

export async function deleteGoneFiles(job: JobContext, approved: () => boolean): Promise<void> {
  const options = { ...WALK, ...job.fair };
  for (;;) {
    const look = await job.placement.run((place) =>
      lookAtDeletions.executeWithOptions({ ...options, ...place, summary: 'what would be deleted?' }, [
        job.ref,
      ]),
    );
    if (look.gone === 0) return;
    if (!look.tooMany || approved()) break;
    // `resume` has it look again; only `approve` lets them go.
    await job.control.blockedUntil(view('TooManyDeletions', describe(look)), () => condition(approved));
  }
  for (let done = false; !done;) {
    const answer = await job.placement.run((place) =>
      job.control.untilPaused(() =>
        deleteGone.executeWithOptions({ ...options, ...place, summary: 'delete what is gone' }, [
          { ...job.ref, budget: SLICE },
        ]),
      ),
    );
    done = answer?.done === true;
  }
}

function describe({ gone, share }: DeletionLook): string {
  return `${grouped(gone)} files are gone from the folder, ${Math.round(share * 100)} % of those that were known`;
}
