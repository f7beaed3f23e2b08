/**
 * The command line's entry: the only place of it that reads the process. Commands are loaded when they are used, so that
 * `--version` and the start of an upload do not wait for code that they do not need.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Io } from './io.js';
import { runProgram } from './program.js';

/** The build puts the version here; from sources the package says it. */
function version(): string {
  if (process.env.LONGSHORE_VERSION !== undefined) return process.env.LONGSHORE_VERSION;
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function main(): Promise<never> {
  // The SDK's reminder that a later version of it will need a later Node says nothing about this command.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const argv = process.argv.slice(2);
  const io = new Io({
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: () => process.stdin,
    env: process.env,
    cwd: process.cwd(),
    entry: fileURLToPath(import.meta.url),
    json: argv.includes('--json'),
    exit: (code) => process.exit(code),
  });
  const code = await runProgram(io, argv, version());
  await io.flush();
  // Connections that are being closed, and native code, would keep the process for a moment that nobody needs.
  process.exit(code);
}

void main();
