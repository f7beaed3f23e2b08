/** `longshore watch`: follows an upload or a job to its end, whoever started it. */
import { failureOfRow } from '../describe.js';
import { EXIT, LongshoreError } from '../../../core/errors.js';
import type { UploadRow } from '../../../infra/catalog/uploads.js';
import type { Found } from '../find.js';
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { printFailed, printResult } from '../outcome.js';
import { createScreen, screenOf } from '../screen.js';
import { configure, withClient } from '../session.js';
import { isTerminal } from '../../../core/states.js';
import { watchToEnd } from '../watching.js';
import type { Config } from '../../../infra/config.js';
import { withJobCatalog } from '../job-catalog.js';
import { findEither, type FoundJob } from '../job-find.js';
import { JobDrawing } from '../job-progress.js';
import { destinationOf, printJobRow, watchJob } from '../job-watching.js';
import type { AnyView } from '../target.js';

export interface WatchOptions extends Connections {
  quiet?: boolean;
}

/** `text` is an id, or says `job/ID` or `upload/ID`. */
export async function run(io: Io, options: WatchOptions, text: string): Promise<number> {
  const config = configure(io, options);
  const either = await findEither(io, config, text);
  const interrupts = new Interrupts();
  try {
    return either.kind === 'job'
      ? await ofJob(io, config, options, either.found, interrupts)
      : await ofUpload(io, config, options, either.found, interrupts);
  } finally {
    interrupts.release();
  }
}

async function ofJob(
  io: Io,
  config: Config,
  options: WatchOptions,
  found: FoundJob,
  interrupts: Interrupts,
): Promise<number> {
  return await withJobCatalog(config, async (catalog) => {
    if (found.view === undefined) {
      const { row } = found;
      if (isTerminal(row.state)) return await printJobRow(io, catalog, row);
      throw forgotten('job', row.id, row.state);
    }
    const { view, row } = found;
    const { id, runId, webUi } = view;
    const job = { id, runId, webUi, to: row === undefined ? undefined : destinationOf(row) };
    const screen = screenOf(io, options, new JobDrawing());
    return await withClient(config, (client) =>
      watchJob({ io, client, catalog, job, screen, interrupts, mayCancel: false, seconds: secondsOf(view) }),
    );
  });
}

async function ofUpload(
  io: Io,
  config: Config,
  options: WatchOptions,
  { view, row }: Found,
  interrupts: Interrupts,
): Promise<number> {
  if (view === undefined) return ofRow(io, row);
  const { id, runId, bucket, webUi } = view;
  const upload = { id, runId, bucket, key: row?.key, webUi };
  const screen = createScreen(io, options);
  return await withClient(config, (client) =>
    watchToEnd({ io, client, upload, screen, interrupts, mayCancel: false, seconds: secondsOf(view) }),
  );
}

/** From the start of the run to its end, or to now. */
function secondsOf({ startedAt, closedAt }: AnyView): () => number {
  const began = Date.parse(startedAt);
  const ended = closedAt === undefined ? undefined : Date.parse(closedAt);
  return () => ((ended ?? Date.now()) - began) / 1000;
}

function forgotten(noun: string, id: string, state: string): LongshoreError {
  const message = `Temporal knows no ${noun} ${id}; the catalog saw it last as ${state}`;
  const hint = 'Start it again under another id, or with the same input.';
  return new LongshoreError('NotFound', message, { op: 'watch', key: id, hint });
}

/** Temporal has forgotten it: the catalog tells how it ended. */
function ofRow(io: Io, row: UploadRow): number {
  const { id, bucket, key, state, size, etag, verification, finishedAt } = row;
  const ended = { id, bucket, key, webUi: undefined };
  const seconds = finishedAt === null ? 0 : (Date.parse(finishedAt) - Date.parse(row.runStartedAt)) / 1000;
  if (!isTerminal(state)) {
    throw forgotten('upload', id, state);
  }
  if (state !== 'COMPLETED') return printFailed(io, ended, failureOfRow(row), seconds);
  const result = {
    ...{ bucket, key, size: size ?? 0, etag: etag ?? '', verification: verification ?? 'size' },
    ...(row.versionId === null ? {} : { versionId: row.versionId }),
    ...(row.checksum === null ? {} : { checksum: row.checksum }),
    ...{ bytesSent: row.bytesSent ?? 0, parts: row.parts ?? 1, generations: row.generations ?? 1 },
  };
  printResult(io, ended, result, seconds);
  return EXIT.ok;
}
