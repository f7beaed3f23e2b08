/** activities-child.js FILE BUCKET KEY, with the usual AWS variables. Prints the milliseconds of each step as JSON. */
import { randomUUID } from 'node:crypto';
import { asyncLocalStorage } from '@temporalio/activity';
import { NO_KEYS } from '../../src/activities/keyed.js';
import { createTransferActivities, type TransferActivities } from '../../src/activities/uploads.js';
import { uploadWorkflowId } from '../../src/core/ids.js';
import type { UploadObjectInput } from '../../src/core/uploads.js';
import type { PartsPlan } from '../../src/core/upload-steps.js';
import { createBufferPool } from '../../src/infra/buffers.js';
import { loadConfig } from '../../src/infra/config.js';
import { createObjectStore } from '../../src/infra/s3/index.js';
import { createSources } from '../../src/infra/sources/index.js';
import { context } from './context.js';

const [file = '', bucket = '', key = ''] = process.argv.slice(2);
const phases: Record<string, number> = { 'process and imports': performance.now() };

const config = loadConfig({ flags: { roots: 'host=/' } });
const store = createObjectStore(config.s3);
const sources = createSources({
  roots: config.roots,
  url: config.url,
  stores: () => store,
  unseal: () => Promise.reject(new Error('no address is sealed here')),
});
const activities = createTransferActivities({
  store,
  sources,
  buffers: createBufferPool(config.worker.memoryBudget),
  mustGrant: () => Promise.resolve(),
  keysOf: NO_KEYS,
  defaults: config.upload,
  profile: config.serverProfile,
});

async function step<K extends keyof TransferActivities>(
  name: K,
  ...args: Parameters<TransferActivities[K]>
): Promise<Awaited<ReturnType<TransferActivities[K]>>> {
  const began = performance.now();
  const activity = activities[name] as (...given: typeof args) => ReturnType<TransferActivities[K]>;
  const result = await asyncLocalStorage.run(context(), () => activity(...args));
  phases[name] = (phases[name] ?? 0) + performance.now() - began;
  return result;
}

async function main(): Promise<never> {
  const upload: UploadObjectInput = {
    id: randomUUID(),
    source: { kind: 'file', root: 'host', path: file.slice(1) },
    destination: { bucket, key },
    options: {},
  };
  const token = { uploadId: uploadWorkflowId(upload.id), nonce: randomUUID() };
  const inspection = await step('inspectSource', upload);
  const plan = inspection.plan as PartsPlan;
  const created = await step('createMultipartUpload', { upload, inspection, token });
  const ledgers: string[] = [];
  const again = false;
  for (const window of plan.windows) {
    ledgers.push((await step('uploadParts', { upload, inspection, created, window, again })).ledger);
  }
  const size = plan.parts.size ?? 0;
  const stored = await step('completeMultipartUpload', { upload, inspection, created, size, ledgers, again });
  const { verification } = await step('verifyObject', { upload, inspection, stored });
  if (verification !== 'full') throw new Error(`verified only by ${verification}`);
  console.log(JSON.stringify(phases));
  return process.exit(0);
}

void main();
