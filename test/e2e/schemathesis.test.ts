/**
 * schemathesis against the API of a whole stack: what the document says is what the server does, for requests that keep
 * to it and for those that do not, and for sequences of them.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Harness } from '../integration/cli-harness.js';
import { pythonProgram } from '../helpers/python.js';
import { startProcess } from '../helpers/processes.js';

/**
 * 400 is what the document rules out. What it allows may be refused for want of rights, of the thing that is named, of
 * its state, or (422) since fields that are right alone contradict each other, which no schema can say.
 */
const CONFIG = `
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[[operations]]
# Whether a checksum is that of the bytes, or of the key, no schema can say.
include-operation-id = ["putChunk", "putPayload", "rotateNode"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422"]
`;

const EXAMPLES = '6';
const MINUTE_MS = 60_000;

let harness: Harness;
let folder: string;
let schemathesis: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-schemathesis-'));
  await writeFile(join(folder, 'schemathesis.toml'), CONFIG);
  schemathesis = await pythonProgram('schemathesis', 'schemathesis==4.32.5');
  harness = await Harness.start();
  // Sessions begin, but nothing reads this machine's folders, or has time to ask for addresses that a generator made up.
  harness.env = { LONGSHORE_URL_TIMEOUT: '1ms' };
  const worker = harness.run('worker', '--queues', 'orchestration,transfer', '--json');
  await worker.until(({ stdout, stderr }) => (stdout + stderr).includes('the worker is ready'), 60_000);
});
afterAll(async () => {
  await harness.stop();
  await rm(folder, { recursive: true, force: true });
});

test('keeps what its document promises, with all checks', { timeout: 12 * MINUTE_MS }, async () => {
  const { api } = (await harness.state()) as unknown as { api: { url: string } };
  const child = startProcess(
    schemathesis,
    [
      ...['--config-file', join(folder, 'schemathesis.toml')],
      ...['run', `${api.url}/openapi.json`],
      ...['--checks', 'all', '-n', EXAMPLES, '--seed', '4', '--request-timeout', '20', '--no-color'],
    ],
    { PATH: process.env['PATH'] ?? '', HOME: folder },
    'schemathesis',
  );
  const { code } = await child.exited;
  const found = child.stdout.slice(child.stdout.search(/FAILURES|ERRORS|SUMMARY/));
  expect(found).toMatch(/(\d{3,}) generated, \1 passed/);
  expect(code).toBe(0);
});
