/** The current details that the Web UI shows, in Markdown. */
import {
  sourceLabel,
  type UploadObjectInput,
  type UploadProgress,
  type UploadStatus,
} from '../core/uploads.js';

export function describeUpload(
  input: UploadObjectInput,
  status: UploadStatus,
  progress: UploadProgress,
): string {
  const { bucket, key } = input.destination;
  const lines = [`**${status.state}** ${sourceLabel(input.source)} → s3://${bucket}/${key}`];
  if (progress.bytesTotal !== null) lines.push(`${progress.bytesDone} of ${progress.bytesTotal} bytes in S3`);
  if (status.failure !== undefined)
    lines.push(`${status.failure.code}: ${status.failure.message}`, status.failure.hint);
  return lines.join('\n\n');
}
