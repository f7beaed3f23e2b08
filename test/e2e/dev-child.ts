/** `longshore dev --json` without its command line: the folder, then the entry of a worker or nothing. */
import { runDev } from '../../src/dev/dev.js';

const [dataDir, cliEntry] = process.argv.slice(2);
if (dataDir === undefined) throw new Error('no data folder was given');
try {
  process.exitCode = await runDev({
    dataDir,
    worker: cliEntry !== undefined,
    cliEntry: cliEntry ?? '',
    env: process.env,
    json: true,
    out: (line) => process.stdout.write(`${line}\n`),
    err: (line) => process.stderr.write(`${line}\n`),
  });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 9;
}
