/** `longshore watch`: follows an upload to its end, whoever started it. */
import { failureOfRow } from '../describe.js';
import { EXIT, LongshoreError } from '../../../core/errors.js';
import type { UploadRow } from '../../../infra/catalog/uploads.js';
import { findUpload } from '../find.js';
import { Interrupts } from '../interrupts.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { printFailed, printResult } from '../outcome.js';
import { createScreen } from '../screen.js';
import { configure, withClient } from '../session.js';
import { isTerminal } from '../../../core/states.js';
import { watchToEnd } from '../watching.js';

export interface WatchOptions extends Connections {
  quiet?: boolean;
}

export async function run(io: Io, options: WatchOptions, id: string): Promise<number> {
  const config = configure(io, options);
  const { view, row } = await findUpload(io, config, id);
  if (view === undefined) return ofRow(io, row);
  const began = Date.parse(view.startedAt);
  const ended = view.closedAt === undefined ? undefined : Date.parse(view.closedAt);
  const seconds = (): number => ((ended ?? Date.now()) - began) / 1000;
  const upload = { id, runId: view.runId, bucket: view.bucket, key: row?.key, webUi: view.webUi };
  const interrupts = new Interrupts();
  try {
    return await withClient(config, (client) =>
      watchToEnd({
        io,
        client,
        upload,
        screen: createScreen(io, options),
        interrupts,
        seconds,
        mayCancel: false,
      }),
    );
  } finally {
    interrupts.release();
  }
}

/** Temporal has forgotten it: the catalog tells how it ended. */
function ofRow(io: Io, row: UploadRow): number {
  const { id, bucket, key, state, size, etag, verification, finishedAt } = row;
  const ended = { id, bucket, key, webUi: undefined };
  const seconds = finishedAt === null ? 0 : (Date.parse(finishedAt) - Date.parse(row.runStartedAt)) / 1000;
  if (!isTerminal(state)) {
    throw new LongshoreError(
      'NotFound',
      `Temporal knows no upload ${id}; the catalog saw it last as ${state}`,
      {
        ...{ op: 'watch', key: id, hint: 'Start it again under another id, or with the same input.' },
      },
    );
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
