/** `longshore dev`: the embedded stack until Ctrl-C. */
import { runDev } from '../../../dev/dev.js';
import { migrateAt } from '../../../infra/catalog/migrations.js';
import { findDataDir } from '../../../infra/config-dev.js';
import { Settings } from '../../../infra/config-settings.js';
import { cleanLines } from '../text.js';
import type { Io } from '../io.js';
import type { Common } from '../options.js';

export interface DevOptions extends Common {
  worker: boolean;
  api: boolean;
}

export async function run(io: Io, { dataDir, worker, api }: DevOptions): Promise<number> {
  const asked = dataDir ?? (io.env['LONGSHORE_DATA_DIR'] || undefined);
  return await runDev({
    dataDir: findDataDir(asked, io.cwd, new Settings({}, io.env)),
    worker,
    api,
    cliEntry: io.entry,
    env: { ...io.env },
    migrate: migrateAt,
    json: io.json,
    out: (line) => (io.json ? io.outJson(JSON.parse(line) as object) : io.out(line)),
    err: (line) => cleanLines(line).forEach((each) => io.err(each)),
  });
}
