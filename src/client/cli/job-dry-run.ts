/** `--dry-run`: says what would go, and sends nothing. */
import { EXIT } from '../../core/errors.js';
import type { JobCatalog } from './job-catalog.js';
import { withJobCatalog } from './job-catalog.js';
import type { Config } from '../../infra/config.js';
import type { ManifestRow } from '../../infra/catalog/scans.js';
import { bytesOf } from '../../infra/sources/tree-names.js';
import type { Io } from './io.js';
import { openFolderHere, type SeenFile, type Seen } from './job-dry-folder.js';
import { seenByWorker } from './job-dry-worker.js';
import type { JobRequest } from './job-start.js';
import { destinationOf } from './job-watching.js';
import { rounded } from './outcome.js';
import { bytes, grouped, plural } from './text.js';

interface Sums {
  files: number;
  bytes: number;
  unchanged: number;
  skipped: number;
  failed: number;
  gone: number;
}

/** Looks at the folder here when this machine can read it, else lets a worker look. */
export async function dryRun(
  io: Io,
  config: Config,
  request: JobRequest,
  { quiet = false }: { quiet?: boolean | undefined },
): Promise<number> {
  const began = performance.now();
  return await withJobCatalog(config, async (catalog) => {
    const row = await catalog.row(request.id);
    const known = manifestOf(catalog, row?.no);
    const seen =
      (await openFolderHere(config.roots, request.definition)) ?? seenByWorker(io, config, catalog, request);
    const sums = await compare(seen, known, request.definition.compare === 'checksum', (file) => {
      if (quiet) return;
      const { path, size } = file;
      if (io.json) io.outJson({ type: 'file', path, size });
      else io.out(`${String(size).padStart(14)}  ${path}`);
    });
    const seconds = (performance.now() - began) / 1000;
    if (io.json) io.outJson({ type: 'dry-run', id: request.id, ...sums, seconds: rounded(seconds) });
    else conclude(io, request, sums);
    return EXIT.ok;
  });
}

/** Rows of the job so far, page by page, in the byte order of their paths. */
async function* manifestOf(catalog: JobCatalog, job: number | undefined): AsyncGenerator<ManifestRow> {
  if (job === undefined) return;
  const { readManifest } = await import('../../infra/catalog/scans.js');
  const limit = 5_000;
  for (let after: string | null = null; ;) {
    const rows: ManifestRow[] = await readManifest(await catalog.pool(), job, { after, limit });
    yield* rows;
    if (rows.length < limit) return;
    after = rows.at(-1)?.path ?? null;
  }
}

/** Both in the byte order of their paths, side by side. */
async function compare(
  seen: AsyncIterable<Seen>,
  known: AsyncGenerator<ManifestRow>,
  checksums: boolean,
  goes: (file: SeenFile) => void,
): Promise<Sums> {
  const sums: Sums = { files: 0, bytes: 0, unchanged: 0, skipped: 0, failed: 0, gone: 0 };
  const missed = (row: ManifestRow, closed: string | undefined): void => {
    const hidden = closed !== undefined && bytesOf(row.path).startsWith(closed);
    if (!hidden && (row.state === 'UPLOADED' || row.gone)) sums.gone += 1;
  };
  let closed: string | undefined;
  let row = await known.next();
  for await (const entry of seen) {
    for (; row.done !== true && bytesOf(row.value.path) < entry.order; row = await known.next()) {
      missed(row.value, closed);
    }
    const there = row.done !== true && bytesOf(row.value.path) === entry.order ? row.value : undefined;
    if (there !== undefined) row = await known.next();
    if (entry.kind === 'closed') closed = entry.order;
    if (entry.kind !== 'file') {
      // What the filter leaves out counts for nothing, but is not gone.
      if (entry.kind !== 'unfit') sums[entry.kind === 'closed' ? 'failed' : entry.kind] += 1;
    } else if (there !== undefined && (await isSame(entry, there, checksums))) {
      sums.unchanged += 1;
    } else {
      sums.files += 1;
      sums.bytes += entry.size;
      goes(entry);
    }
  }
  for (; row.done !== true; row = await known.next()) missed(row.value, closed);
  return sums;
}

/** As the scan judges. */
async function isSame(file: SeenFile, row: ManifestRow, checksums: boolean): Promise<boolean> {
  if (row.state !== 'UPLOADED' || row.gone || row.size !== file.size || row.mtimeNs !== file.mtimeNs)
    return false;
  return !checksums || file.differs === undefined || !(await file.differs(row.checksum));
}

function conclude(io: Io, { id, definition }: JobRequest, sums: Sums): void {
  const { files, unchanged, skipped, failed, gone } = sums;
  const to = destinationOf({ definition });
  io.err(
    `${plural(files, 'file')}, ${bytes(sums.bytes)}, would go from ${definition.sourceFolder} to ${to} (job ${id}).`,
  );
  const rest = [
    ...(unchanged > 0 ? [`${grouped(unchanged)} unchanged`] : []),
    ...(skipped > 0 ? [`${grouped(skipped)} skipped`] : []),
    ...(failed > 0 ? [`${grouped(failed)} cannot be sent`] : []),
    ...(gone > 0
      ? [
          `${grouped(gone)} gone${definition.deletions === undefined ? '' : ', whose objects would be deleted'}`,
        ]
      : []),
  ];
  if (rest.length > 0) io.err(`${rest.join('; ')}.`);
}
