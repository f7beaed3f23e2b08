/** From the options of `put` to what the API is asked. */
import { LongshoreError } from '../../core/errors.js';
import type { Destination } from '../../core/uploads.js';
import type { Config } from '../../infra/config.js';
import { HttpSessions, type BeginAsk } from '../http/sessions.js';
import { isPrivate } from '../http/transport.js';
import type { PutOptions } from './commands/put.js';
import type { Io } from './io.js';
import { badUsage, encryption, pairs, size } from './options.js';

/** The API that is configured. Throws InvalidConfig when none is. */
export function connect(io: Io, { remote }: Config, onRetry: (why: string) => void): HttpSessions {
  if (remote === undefined) {
    throw new LongshoreError('InvalidConfig', 'no API is configured', {
      op: 'connect',
      hint: 'Give its address by --api or LONGSHORE_API_URL, or start `longshore dev` in this folder.',
    });
  }
  const { url, key, patienceMs } = remote;
  if (key !== undefined && !isPrivate(url))
    io.err(`warning: the API key goes to ${url} in the clear; use https`);
  return new HttpSessions({ url, key, patienceMs, onRetry: ({ message }) => onRetry(message) });
}

export function askOf(
  { uploadAsked }: Config,
  options: PutOptions,
  name: string,
  { bucket, key }: Destination,
): Omit<BeginAsk, 'size'> {
  return {
    ...{ id: options.id ?? crypto.randomUUID(), name, bucket, key, contentType: options.contentType },
    ...{ chunkSize: size('--part-size', options.partSize) ?? uploadAsked.partSize },
    ...{ metadata: pairs('--metadata', options.metadata), tags: pairs('--tag', options.tag) },
    ifNoneMatch: options.ifNoneMatch === true ? '*' : undefined,
  };
}

/** Throws InvalidInput. */
export function refuseWhatWorkersDo(options: PutOptions): void {
  const given = {
    '--cache-control': options.cacheControl !== undefined,
    '--storage-class': options.storageClass !== undefined,
    '--no-checksum': !options.checksum,
    '--demand': options.demand !== undefined,
    '--source-store': options.sourceStore !== undefined,
    '--source-sse-c-key-file': options.sourceSseCKeyFile !== undefined,
    '--detach': options.detach === true,
  };
  const named = Object.entries(given).filter(([, is]) => is);
  if (named.length === 0) return;
  throw badUsage(`${named.map(([name]) => name).join(', ')} cannot be had by way of the API`);
}

/** A customer's key goes with the request that begins the session, and is sealed by the API. */
export async function encryptionOf(
  io: Io,
  { uploadAsked }: Config,
  options: PutOptions,
): Promise<BeginAsk['encryption']> {
  const asked =
    encryption(options) ?? (options.sseCKeyFile === undefined ? uploadAsked.encryption : undefined);
  if (options.sseCKeyFile === undefined) return asked?.type === 'SSE_C' ? undefined : asked;
  const { readKeyFile } = await import('./key-file.js');
  return { type: 'SSE_C', ...(await readKeyFile(io, '--sse-c-key-file', options.sseCKeyFile)) };
}
