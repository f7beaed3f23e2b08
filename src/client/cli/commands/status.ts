/** `longshore status`: one upload, also with no worker alive. */
import { EXIT } from '../../../core/errors.js';
import { fromRow, fromView, printStatus } from '../describe.js';
import { findUpload } from '../find.js';
import type { Io } from '../io.js';
import type { Connections } from '../options.js';
import { configure } from '../session.js';

export async function run(io: Io, options: Connections, id: string): Promise<number> {
  const { view, row } = await findUpload(io, configure(io, options), id);
  const status = view === undefined ? fromRow(row) : fromView(view, row);
  if (io.json) io.outJson(status);
  else printStatus(io, status);
  return EXIT.ok;
}
