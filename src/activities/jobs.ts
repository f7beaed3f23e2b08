/** What the workflow of an upload job asks for, by the queue that it asks on. */
import type {
  BatchInput,
  BatchResult,
  BucketCheck,
  CheckAnswer,
  CheckInput,
  DeleteAnswer,
  DeleteInput,
  DeletionLook,
  FinishAnswer,
  FinishInput,
  JobPlan,
  JobRef,
  JobReport,
  LargeFile,
  LargeInput,
  LargeOutcome,
  OpenJobInput,
  RegroupAnswer,
  RegroupInput,
  ScanAnswer,
  ScanInput,
  UploadOutcome,
} from '../core/job-steps.js';

/** On `transfer@ROOT`: what reads the folder, moves its bytes, or speaks to S3 for many files. */
export interface JobTransferActivities {
  /** One slice of the tree, from where the last one ended. A repeated slice goes on from what it had written. */
  scanFolder(input: ScanInput): Promise<ScanAnswer>;
  /** Whether a monitored folder has anything to send. Reads only. */
  checkFolder(input: CheckInput): Promise<CheckAnswer>;
  /** Sends what of a batch is still pending. Told to stop, it returns what it has, `finished: false`. */
  uploadFiles(input: BatchInput): Promise<BatchResult>;
  /** What `deleteGone` would delete. Reads only; throws RootUnavailable. */
  lookAtDeletions(ref: JobRef): Promise<DeletionLook>;
  /** Deletes objects of files that are gone, and their rows. Safe to repeat. */
  deleteGone(input: DeleteInput): Promise<DeleteAnswer>;
  /** Compares the bucket with the rows: what is missing or different is PENDING again. Safe to repeat. */
  checkBucket(ref: JobRef): Promise<BucketCheck>;
}

/** On `orchestration`: the catalog and Temporal itself. All may be repeated. */
export interface JobOrchestrationActivities {
  /** Gives the run its generation; the same run asked again gets the same. Throws NotFound, Conflict. */
  openJob(input: OpenJobInput): Promise<JobPlan>;
  /** A late report changes nothing. */
  reportJob(report: JobReport): Promise<void>;
  nextLarge(input: LargeInput): Promise<LargeFile[]>;
  settleLarge(outcome: LargeOutcome): Promise<void>;
  /** Waits until an upload has ended, and says how. */
  followUpload(input: { uploadId: string }): Promise<UploadOutcome>;
  regroup(input: RegroupInput): Promise<RegroupAnswer>;
  /** The job is looked at on its schedule from now on. */
  setMonitor(ref: JobRef): Promise<void>;
  /** Nobody asks for it any more. */
  removeMonitor(input: CheckInput): Promise<void>;
  /** Begins a run that looks at the folder again, unless one is under way. */
  startSync(input: CheckInput): Promise<void>;
  finishJob(input: FinishInput): Promise<FinishAnswer>;
}
