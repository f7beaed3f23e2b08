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
  JobRef,
  ScanAnswer,
  ScanInput,
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
