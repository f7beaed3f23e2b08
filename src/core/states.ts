/** The states of an object upload, as the catalog, the search attribute and every answer spell them. */
export const UPLOAD_STATES = [
  'PENDING',
  'UPLOADING',
  'PAUSED',
  'BLOCKED',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
  // A session that nobody came back to.
  'EXPIRED',
] as const;
export type UploadState = (typeof UPLOAD_STATES)[number];

/** The states of an upload job. COMPLETED may come with failed files, which its counts show. */
export const JOB_STATES = [
  'PENDING',
  'IN_PROGRESS',
  'PAUSED',
  'BLOCKED',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
] as const;
export type JobState = (typeof JOB_STATES)[number];

/** The states of a file of a job. */
export const FILE_STATES = ['PENDING', 'IN_PROGRESS', 'UPLOADED', 'FAILED', 'SKIPPED'] as const;
export type FileState = (typeof FILE_STATES)[number];

const TERMINAL: ReadonlySet<string> = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED']);

export function isTerminal(state: UploadState | JobState): boolean {
  return TERMINAL.has(state);
}

/** The states of a node: an object that a connector registered. PENDING until its first session ends. */
export const NODE_STATES = ['PENDING', 'ACTIVE', 'FAILED', 'CANCELLED'] as const;
export type NodeState = (typeof NODE_STATES)[number];

/** Search attributes that Longshore's workflows carry; `longshore migrate` registers them. All are keywords. */
export const SEARCH_ATTRIBUTES = {
  kind: 'LongshoreKind',
  bucket: 'LongshoreBucket',
  state: 'LongshoreState',
} as const;
