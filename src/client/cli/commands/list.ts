/** `longshore list`: uploads as the catalog knows them, newest first. */
import { EXIT } from '../../../core/errors.js';
import { UPLOAD_STATES, type UploadState } from '../../../core/states.js';
import { listUploads, type UploadRow } from '../../../infra/catalog/uploads.js';
import { fromRow } from '../describe.js';
import type { Io } from '../io.js';
import { badUsage, count, type Connections } from '../options.js';
import { configure, withCatalog } from '../session.js';
import { bytes, localTime, table } from '../text.js';

export interface ListOptions extends Connections {
  state?: string;
  bucket?: string;
  limit: string;
  cursor?: string;
}

export async function run(io: Io, options: ListOptions): Promise<number> {
  const { bucket, cursor } = options;
  const ask = { state: stateOf(options.state), bucket, cursor, limit: count('--limit', options.limit) };
  const page = await withCatalog(configure(io, options), (pool) => listUploads(pool, ask));
  if (io.json) {
    io.outJson({ uploads: page.rows.map(fromRow), nextCursor: page.nextCursor });
    return EXIT.ok;
  }
  if (page.rows.length === 0) io.err('No uploads. Next: `longshore put <source> s3://bucket/key`');
  else for (const line of table(HEAD, page.rows.map(cells))) io.out(line);
  if (page.nextCursor !== null) io.err(`More: add --cursor ${page.nextCursor}`);
  return EXIT.ok;
}

const HEAD = ['ID', 'STATE', 'SIZE', 'STARTED', 'DESTINATION'];

function cells({ id, state, size, createdAt, bucket, key, failure }: UploadRow): string[] {
  const why = failure === null ? state : `${state} ${failure.code}`;
  return [id, why, size === null ? '-' : bytes(size), localTime(createdAt), `s3://${bucket}/${key}`];
}

function stateOf(text: string | undefined): UploadState | undefined {
  const state = UPLOAD_STATES.find((each) => each === text?.toUpperCase());
  if (text === undefined || state !== undefined) return state;
  throw badUsage(`--state takes ${UPLOAD_STATES.join(', ')}, not ${JSON.stringify(text)}`);
}
