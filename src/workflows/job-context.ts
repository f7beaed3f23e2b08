/** What the steps of one run of a job share. */
import type { ActivityOptions } from '@temporalio/workflow';
import type { JobRef, ScanAnswer } from '../core/job-steps.js';
import type { JobPlan, JobTally } from '../core/jobs.js';
import type { Control } from './control.js';
import type { Placement } from './placement.js';

export interface JobContext {
  id: string;
  plan: JobPlan;
  ref: JobRef;
  control: Control;
  placement: Placement;
  /** Of every activity and upload: jobs share the workers fairly. */
  fair: Required<Pick<ActivityOptions, 'priority'>>;
  scan: ScanAnswer;
  tally: JobTally;
  /** Give out nothing more: the run is to continue as a new one. */
  full(): boolean;
  onProgress(): void;
}

/** As Temporal suggests, and well before it warns. */
export function isFull(
  { historyLength, continueAsNewSuggested }: { historyLength: number; continueAsNewSuggested: boolean },
  { maxEvents }: JobPlan,
): boolean {
  return continueAsNewSuggested || historyLength >= maxEvents;
}
