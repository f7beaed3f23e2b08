/** The states of an object upload, as the catalog, the search attribute and every answer spell them. */
export const UPLOAD_STATES = [
  'PENDING',
  'UPLOADING',
  'PAUSED',
  'BLOCKED',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
] as const;
export type UploadState = (typeof UPLOAD_STATES)[number];

const TERMINAL: ReadonlySet<UploadState> = new Set(['COMPLETED', 'FAILED', 'CANCELLED']);

export function isTerminal(state: UploadState): boolean {
  return TERMINAL.has(state);
}

/** Search attributes that Longshore's workflows carry; `longshore migrate` registers them. All are keywords. */
export const SEARCH_ATTRIBUTES = {
  kind: 'LongshoreKind',
  bucket: 'LongshoreBucket',
  state: 'LongshoreState',
} as const;
