/** `longshore files`: the files of a job, in the order of their paths. */
import { EXIT } from '../../../core/errors.js';
import { keyOf } from '../../../core/job-keys.js';
import type { JobDefinition } from '../../../core/jobs.js';
import { FILE_STATES, type FileState } from '../../../core/states.js';
import { listFiles, type FileRow } from '../../../infra/catalog/files.js';
import type { Io } from '../io.js';
import { withJobCatalog } from '../job-catalog.js';
import { readJobId } from '../job-find.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure } from '../session.js';
import { bytes, table } from '../text.js';

export interface FilesOptions extends Connections {
  state?: string;
  prefix?: string;
  limit: string;
  cursor?: string;
}

/** Throws NotFound. */
export async function run(io: Io, options: FilesOptions, text: string): Promise<number> {
  const id = readJobId(text);
  const { prefix, cursor } = options;
  const limit = count('--limit', options.limit);
  const ask = { state: stateOf(options.state), prefix, after: cursor, limit };
  return await withJobCatalog(configure(io, options), async (catalog) => {
    const { no, definition } = await catalog.rowOf(id);
    const { rows, next } = await listFiles(await catalog.pool(), no, ask);
    if (io.json) {
      io.outJson({ id, files: rows.map((row) => fileJson(definition, row)), nextCursor: next ?? null });
      return EXIT.ok;
    }
    if (rows.length === 0) io.err('No such files.');
    else for (const line of table(HEAD, rows.map(cells))) io.out(line);
    if (next !== undefined) io.err(`More: add --cursor ${quoted(next)}`);
    return EXIT.ok;
  });
}

const HEAD = ['STATE', 'SIZE', 'PATH', 'REASON'];

function cells({ state, size, path, failureCode, failureReason }: FileRow): string[] {
  const why = failureCode === null ? '' : `${failureReason ?? ''} (${failureCode})`;
  return [state, size === null ? '-' : bytes(size), path, why];
}

/** The cursor is a path: any character may be in it. */
function quoted(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function fileJson({ destination }: JobDefinition, row: FileRow) {
  const { path, state, size, mtime, attempts, failureCode, failureReason, checksum, etag, versionId } = row;
  const error = failureCode === null ? null : { code: failureCode, reason: failureReason };
  return {
    ...{ path, state, key: keyOrNull(destination, row), size, mtime, attempts, error },
    ...{
      checksum,
      etag,
      versionId,
      uploadId: row.uploadId,
      createdAt: row.createdAt,
      updatedAt: row.updatedAt,
    },
  };
}

/** A file whose name makes no key has failed for that very reason. */
function keyOrNull(
  destination: JobDefinition['destination'],
  { path, state, mtimeNs }: FileRow,
): string | null {
  if (state === 'FAILED' || state === 'SKIPPED') return null;
  return keyOf(destination, path, mtimeNs ?? undefined);
}

function stateOf(text: string | undefined): FileState | undefined {
  const state = FILE_STATES.find((each) => each === text?.toUpperCase());
  if (text === undefined || state !== undefined) return state;
  throw badUsage(`--state takes ${FILE_STATES.join(', ')}, not ${JSON.stringify(text)}`);
}
