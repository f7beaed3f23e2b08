/** Files that hold customers' keys. */
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { LongshoreError } from '../../core/errors.js';
import { customerKeyFromFile, type CustomerKey } from '../../infra/keys/customer-key.js';
import type { Io } from './io.js';

/** Longer than any spelling of a key; a whole disk given by mistake is not read. */
const MAX_BYTES = 256;

/** 32 bytes, raw or in base64. Warns where others may read the file. Throws InvalidInput, which never shows what is in it. */
export async function readKeyFile(io: Io, option: string, name: string): Promise<CustomerKey> {
  const path = resolve(io.cwd, name);
  const file = await open(path, 'r').catch((error: unknown) => {
    throw unreadable(option, path, error);
  });
  try {
    const { mode } = await file.stat();
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      io.err(
        `warning: ${path} can be read by others (mode ${(mode & 0o777).toString(8)}); \`chmod 600\` keeps the key to you`,
      );
    const buffer = Buffer.alloc(MAX_BYTES);
    const { bytesRead } = await file.read(buffer, 0, MAX_BYTES, 0);
    return customerKeyFromFile(buffer.subarray(0, bytesRead));
  } catch (error) {
    throw error instanceof LongshoreError ? error : unreadable(option, path, error);
  } finally {
    await file.close();
  }
}

function unreadable(option: string, path: string, cause: unknown): LongshoreError {
  const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new LongshoreError('InvalidInput', `${option}: ${path} cannot be read (${why})`, {
    op: 'usage',
    cause,
  });
}
