/** Rows of the catalog as answers show them. */
import { keyOf } from '../core/job-keys.js';
import { LongshoreError, type FailureView } from '../core/errors.js';
import type { JobCounts } from '../core/jobs.js';
import type { FileRow } from '../infra/catalog/files.js';
import type { JobRow } from '../infra/catalog/jobs.js';
import type { Config } from '../infra/config.js';
import type * as z from 'zod';
import type { FileView, UploadView } from './schemas/uploads.js';

const NONE: JobCounts = {
  totalFiles: 0,
  totalBytes: 0,
  completedFiles: 0,
  completedBytes: 0,
  failedFiles: 0,
  skippedFiles: 0,
  sentFiles: 0,
  sentBytes: 0,
  unchangedFiles: 0,
  deletedFiles: 0,
};

export function uploadView(
  row: JobRow,
  live: JobCounts | undefined,
  config: Config,
): z.infer<typeof UploadView> {
  const counts = live ?? row.counts ?? NONE;
  const { filter, monitor } = row.definition;
  return {
    upload_id: row.id,
    progress: progressOf(row, counts),
    state: row.state,
    total_files: counts.totalFiles,
    completed_files: counts.completedFiles,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
    failed_files: counts.failedFiles,
    skipped_files: counts.skippedFiles,
    deleted_files: counts.deletedFiles,
    unchanged_files: counts.unchangedFiles,
    sent_files: counts.sentFiles,
    total_bytes: counts.totalBytes,
    completed_bytes: counts.completedBytes,
    sent_bytes: counts.sentBytes,
    phase: row.phase,
    generation: row.generation,
    failure: failureView(row.failure),
    source_folder: row.sourceFolder,
    destination_bucket: row.destinationBucket,
    destination_prefix: row.destinationPrefix,
    pattern: filter.include ?? [],
    monitor: {
      enabled: row.monitored,
      interval: monitor.interval ?? config.monitor.interval,
      stability: monitor.stability ?? config.monitor.stability,
      checked_at: row.checkedAt,
    },
    limits: row.limits,
    started_at: row.startedAt,
    finished_at: row.finishedAt,
    web_ui: webUi(config, row.workflowId),
  };
}

/** An empty folder is done when its job is. */
function progressOf({ state }: JobRow, { totalFiles, completedFiles }: JobCounts): number {
  if (totalFiles === 0) return state === 'COMPLETED' ? 1 : 0;
  return Math.min(1, completedFiles / totalFiles);
}

export function failureView(failure: FailureView | null | undefined): UploadFailure {
  if (failure === null || failure === undefined) return null;
  const { code, message, hint } = failure;
  return { code, message, hint };
}
type UploadFailure = z.infer<typeof UploadView>['failure'];

/** The page of a workflow's newest run; null where the Web UI's address is unknown. */
export function webUi({ temporal }: Config, workflowId: string): string | null {
  const { ui, namespace } = temporal;
  if (ui === undefined) return null;
  return `${ui}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}`;
}

export function fileView(row: FileRow, { definition }: JobRow): z.infer<typeof FileView> {
  return {
    path: row.path,
    state: row.state,
    key: keyFor(row, definition.destination),
    size: row.size,
    mtime: row.mtime,
    attempts: row.attempts,
    failure_code: row.failureCode,
    failure_reason: row.failureReason,
    checksum: row.checksum,
    etag: row.etag,
    version_id: row.versionId,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
  };
}

/** null for a file that can have none, which is why it failed. */
function keyFor(row: FileRow, destination: JobRow['definition']['destination']): string | null {
  try {
    return keyOf(destination, row.path, row.mtimeNs ?? undefined);
  } catch (error) {
    if (error instanceof LongshoreError) return null;
    throw error;
  }
}
