/** Gets every tool that the tests use, one after another: `node --import tsx scripts/provision.ts [tool …]`. */
import { provision } from '../src/dev/provision.js';
import type { ToolName } from '../src/dev/provision.js';

const TOOLS: readonly ToolName[] = ['versitygw', 'temporal', 'minio', 'temporal-test-server'];

const asked = process.argv.slice(2);
for (const name of TOOLS.filter((tool) => asked.length === 0 || asked.includes(tool))) {
  try {
    const path = await provision(name, { env: process.env, log: (line) => console.log(line) });
    console.log(`${name}: ${path}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
