/** Options that several commands share, and how their values are read. */
import type { Command } from 'commander';
import { LongshoreError } from '../../core/errors.js';
import type { UploadOptions } from '../../core/uploads.js';
import { parseSize, type ConfigFlags } from '../../infra/config.js';

export interface Common {
  dataDir?: string;
  json?: boolean;
}

export interface Connections extends Common {
  temporalAddress?: string;
  namespace?: string;
  s3Endpoint?: string;
  databaseUrl?: string;
}

export function common(command: Command): Command {
  return command
    .option('--data-dir <path>', 'folder of the embedded stack (default: the nearest .longshore)')
    .option('--json', 'print JSON on stdout');
}

export function connections(command: Command): Command {
  return command
    .option('--temporal-address <host:port>', 'Temporal’s front end')
    .option('--namespace <name>', 'Temporal’s namespace')
    .option('--s3-endpoint <url>', 'the S3 server')
    .option('--database-url <url>', 'PostgreSQL; better given as DATABASE_URL, which other users do not see');
}

export function worker(command: Command): Command {
  return command
    .option('--queues <names>', 'task queues, separated by commas: orchestration, transfer, transfer@ROOT')
    .option('--roots <roots>', 'folders that may be read: name=/path,…')
    .option('--concurrency <count>', 'transfers at once')
    .option('--memory-budget <size>', 'bytes that transfers may hold, such as 256MiB')
    .option('--shutdown-grace <time>', 'how long transfers may go on after a stop, such as 10s')
    .option('--health-port <port>', 'answer /health and /ready here')
    .option('--health-host <host>', 'address to answer them on')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent');
}

export function api(command: Command): Command {
  return command
    .option('--host <host>', 'address to answer on; off loopback only callers with a key are answered')
    .option('--port <port>', 'port to answer on; 0: any free one')
    .option('--roots <roots>', 'folders that workers may read: name=/path,…')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent');
}

export const collect = (value: string, former: string[] | undefined): string[] => [...(former ?? []), value];

export function keys(command: Command): Command {
  return command
    .option('--grant <bucket/prefix>', 'what a new key may touch, repeatable; * is all', collect)
    .option('--key-file <file>', 'rotate: the customer’s key that the object is encrypted with now')
    .option('--new-key-file <file>', 'rotate: the customer’s key that it is to be encrypted with')
    .option('--new-sse', 'rotate: the server’s keys (SSE-S3) are to encrypt it')
    .option('--new-sse-kms [key]', 'rotate: a KMS key is to encrypt it; give it after the node');
}

export function bucket(command: Command): Command {
  return command
    .option(
      '--cors-origin <origin>',
      'a page’s origin that may send, repeatable; default: LONGSHORE_API_ORIGINS',
      collect,
    )
    .option('--abort-days <days>', 'unfinished uploads are aborted after so many days (default: 7)');
}

export function upload(command: Command): Command {
  return command
    .option('--id <id>', 'the upload’s id; the same id with the same input is the same upload')
    .option('--part-size <size>', 'bytes of a part, such as 8MiB')
    .option('--concurrency <count>', 'parts in flight at once')
    .option('--content-type <type>', 'guessed from the name otherwise')
    .option('--cache-control <value>', 'Cache-Control of the object')
    .option('--metadata <name=value>', 'user metadata, repeatable', collect)
    .option('--tag <name=value>', 'a tag of the object, repeatable', collect)
    .option('--storage-class <class>', 'such as STANDARD_IA')
    .option('--if-none-match', 'fail when an object is at the key already')
    .option('--no-checksum', 'send without CRC32')
    .option('--sse', 'encrypt with the server’s keys (SSE-S3)')
    .option(
      '--sse-kms [key]',
      'encrypt with a KMS key, by default the server’s; give it after the destination',
    )
    .option(
      '--sse-c-key-file <file>',
      'encrypt with the key in this file (SSE-C): 32 bytes, raw or in base64; who loses it loses the object',
    )
    .option('--source-sse-c-key-file <file>', 'the key that an s3:// source is encrypted with')
    .option('--demand <level>', 'least verification that counts as success: size, server or full')
    .option(
      '--expected-size <size>',
      'fail before anything is sent when the source has another size; of standard input: how much will come at most',
    )
    .option('--through-api', 'send the bytes from here to the API of the stack in this folder')
    .option('--source-store <name>', 'the configured store that an s3:// source means')
    .option('--detach', 'return once it is started')
    .option('-q, --quiet', 'print only the result');
}

/** For commands that speak to the REST API. */
export function remote(command: Command): Command {
  return command.option('--api <url>', 'base address of the REST API; its key is LONGSHORE_API_KEY');
}

export function flagsOf(options: Connections): ConfigFlags {
  return {
    dataDir: options.dataDir,
    temporalAddress: options.temporalAddress,
    temporalNamespace: options.namespace,
    s3Endpoint: options.s3Endpoint,
    databaseUrl: options.databaseUrl,
  };
}

export function badUsage(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'usage' });
}

/** `name=value` pairs; undefined when there are none. Throws InvalidInput. */
export function pairs(
  option: string,
  given: readonly string[] | undefined,
): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  const found = new Map<string, string>();
  for (const text of given) {
    const at = text.indexOf('=');
    if (at <= 0) throw badUsage(`${option} takes name=value, not ${JSON.stringify(text)}`);
    const name = text.slice(0, at);
    if (found.has(name)) throw badUsage(`${option} names ${JSON.stringify(name)} twice`);
    found.set(name, text.slice(at + 1));
  }
  return Object.fromEntries(found);
}

/** A whole number of at least `least`. Throws InvalidInput. */
export function count(option: string, text: string, least = 1): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw badUsage(`${option} takes a whole number from ${least}, not ${JSON.stringify(text)}`);
}

/** Bytes. Throws InvalidInput. */
export function size(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = parseSize(text);
  if (value !== undefined) return value;
  throw badUsage(`${option} takes a size such as 8388608 or 8MiB, not ${JSON.stringify(text)}`);
}

/** `--sse`, or `--sse-kms` with or without a key. */
export function encryption({
  sse,
  sseKms,
  sseCKeyFile,
}: {
  sse?: boolean | undefined;
  sseKms?: string | boolean | undefined;
  sseCKeyFile?: string | undefined;
}): UploadOptions['encryption'] {
  if (sseCKeyFile !== undefined && (sse === true || sseKms !== undefined))
    throw badUsage('--sse-c-key-file excludes --sse and --sse-kms');
  if (sse === true && sseKms !== undefined) throw badUsage('--sse and --sse-kms exclude each other');
  if (sse === true) return { type: 'SSE_S3' };
  if (sseKms === undefined || sseKms === false) return undefined;
  return sseKms === true ? { type: 'SSE_KMS' } : { type: 'SSE_KMS', kmsKeyId: sseKms };
}
