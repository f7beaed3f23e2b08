/** What a data folder holds of its stack: `dev.json`, the secrets made once, and the lock that lets one `dev` in. */
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { LongshoreError } from '../core/errors.js';
import { DEV_STATE_FILE, DevStateSchema } from '../infra/dev-state.js';
import type { DevState } from '../infra/dev-state.js';
import { isLock, readIfThere, tryLock } from './lock.js';
import type { Lock } from './lock.js';
import { newPassword } from './parts/postgres.js';

const SECRETS_FILE = 'secrets.json';
const LOCK_FILE = 'dev.lock';

const SecretsSchema = z.object({
  installation: z.string(),
  sealingKey: z.string(),
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
  postgresPassword: z.string(),
});

/** Made at the first start, the same from then on: the data was written under them. */
export type Secrets = z.infer<typeof SecretsSchema>;

/** undefined when there is none, or one that another release wrote in another shape. */
export async function readDevState(dataDir: string): Promise<DevState | undefined> {
  const text = await readIfThere(join(dataDir, DEV_STATE_FILE));
  const parsed = text === undefined ? undefined : DevStateSchema.safeParse(parseJson(text));
  return parsed?.success === true ? parsed.data : undefined;
}

export async function writeDevState(dataDir: string, state: DevState): Promise<void> {
  await writeSecretly(join(dataDir, DEV_STATE_FILE), state);
}

/** Throws InvalidConfig when the file is damaged: new secrets would lock everyone out of the data. */
export async function ensureSecrets(dataDir: string): Promise<Secrets> {
  const path = join(dataDir, SECRETS_FILE);
  const text = await readIfThere(path);
  if (text === undefined) {
    const secrets = newSecrets();
    await writeSecretly(path, secrets);
    return secrets;
  }
  const parsed = SecretsSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new LongshoreError('InvalidConfig', `${path} is damaged`, {
    op: 'start',
    key: path,
    cause: parsed.error,
    hint: 'Restore the file, or choose another --data-dir; the data of this one cannot be read without it.',
  });
}

function newSecrets(): Secrets {
  return {
    installation: randomUUID(),
    sealingKey: randomBytes(32).toString('base64'),
    accessKeyId: `longshore${randomBytes(4).toString('hex')}`,
    // Fit for a URL and a shell as they are.
    secretAccessKey: randomBytes(30).toString('base64url'),
    postgresPassword: newPassword(),
  };
}

/** Throws Conflict, with the addresses, when a living `dev` has the folder. */
export async function lockDataDir(dataDir: string): Promise<Lock> {
  const answer = await tryLock(join(dataDir, LOCK_FILE));
  if (isLock(answer)) return answer;
  const state = await readDevState(dataDir);
  const addresses =
    state?.status === 'running'
      ? `: Temporal ${state.temporal.address}, Web UI ${state.temporal.ui}, S3 ${state.s3.endpoint}`
      : '';
  throw new LongshoreError(
    'Conflict',
    `the stack of ${dataDir} is already running (pid ${answer.pid})${addresses}`,
    {
      op: 'start',
      key: dataDir,
      hint: `Use it as it is, stop it with \`kill ${answer.pid}\`, or choose another --data-dir.`,
    },
  );
}

/** Whole or not at all, and for its owner only. */
async function writeSecretly(path: string, value: unknown): Promise<void> {
  const draft = `${path}.${process.pid}.draft`;
  await writeFile(draft, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, path);
}

export async function ensureDataDir(dataDir: string): Promise<void> {
  await mkdir(dataDir, { recursive: true });
}

/** undefined when it is no JSON; the schema says so then. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told apart by the schema, which refuses undefined.
    return undefined;
  }
}
