/** Gets every tool that the tests use, one after another: `node --import tsx scripts/provision.ts [tool …]`. */
import { provision } from '../src/dev/provision.js';
import type { ToolName } from '../src/dev/provision.js';
import { chromiumProgram } from '../test/helpers/chromium-program.js';

const log = (line: string): void => console.log(line);
const own = (name: ToolName) => [name, () => provision(name, { env: process.env, log })] as const;

const TOOLS: readonly (readonly [name: string, get: () => Promise<string>])[] = [
  own('versitygw'),
  own('temporal'),
  own('minio'),
  own('temporal-test-server'),
  own('kafka'),
  own('elasticmq'),
  ['chromium', () => chromiumProgram(log)],
];

const asked = process.argv.slice(2);
for (const [name, get] of TOOLS.filter(([tool]) => asked.length === 0 || asked.includes(tool))) {
  try {
    console.log(`${name}: ${await get()}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
