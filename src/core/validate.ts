/** What can be said of an upload's input without looking at the world. The client asks first, the worker again. */
import { LongshoreError } from './errors.js';
import { ID_PATTERN } from './ids.js';
import {
  MAX_CONCURRENCY,
  MAX_KEY_BYTES,
  MAX_METADATA_BYTES,
  MAX_PARKED_MS,
  MAX_PART_SIZE,
  MAX_TAGS,
  MIN_PART_SIZE,
  MIN_SESSION_TTL_MS,
} from './limits.js';
import {
  VERIFICATION_LEVELS,
  type ClientSource,
  type Destination,
  type Source,
  type UploadObjectInput,
  type UploadOptions,
} from './uploads.js';

export const BUCKET_PATTERN = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const OWN_METADATA = /^longshore-/i;

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'validate' });
}

export function validateUpload(input: UploadObjectInput): void {
  if (!ID_PATTERN.test(input.id))
    throw invalid(`the id ${JSON.stringify(input.id)} is not 1 to 200 of A-Z a-z 0-9 . _ : -`);
  validateSource(input.source);
  validateDestination(input.destination);
  validateOptions(input.options);
}

function validateSource(source: Source): void {
  const known = {
    file: ['root', 'path'],
    url: ['url'],
    object: ['bucket', 'key'],
    client: ['name', 'nodeId'],
  } as const;
  const fields = Object.hasOwn(known, source.kind) ? known[source.kind] : undefined;
  if (fields === undefined) throw invalid(`${JSON.stringify(source.kind)} is no kind of source`);
  for (const field of fields) {
    const value = (source as unknown as { [field: string]: unknown })[field];
    if (typeof value !== 'string' || value === '') throw invalid(`the ${source.kind} source has no ${field}`);
  }
  if (source.kind === 'client') validateClient(source);
}

function validateClient({ nodeId, connectorId, mode, ttlMs }: ClientSource): void {
  for (const id of [nodeId, connectorId ?? nodeId]) {
    if (!ID_PATTERN.test(id))
      throw invalid(`the id ${JSON.stringify(id)} is not 1 to 200 of A-Z a-z 0-9 . _ : -`);
  }
  if (mode !== 'chunks' && mode !== 'whole')
    throw invalid(`${JSON.stringify(mode)} is no way to bring bytes`);
  if (!isWhole(ttlMs, MIN_SESSION_TTL_MS, MAX_PARKED_MS)) {
    throw invalid(`a life of ${ttlMs} ms is not between ${MIN_SESSION_TTL_MS} and ${MAX_PARKED_MS}`);
  }
}

export function validateDestination({ bucket, key }: Destination): void {
  if (!BUCKET_PATTERN.test(bucket)) throw invalid(`${JSON.stringify(bucket)} is not a bucket's name`);
  if (key === '') throw invalid('the key is empty');
  if (!isWellFormed(key)) throw invalid('the key is not valid Unicode');
  const bytes = utf8Length(key);
  if (bytes > MAX_KEY_BYTES) {
    throw new LongshoreError('KeyTooLong', `the key has ${bytes} bytes; S3 takes at most ${MAX_KEY_BYTES}`, {
      op: 'validate',
    });
  }
}

export function validateOptions(options: UploadOptions): void {
  const { partSize, concurrency, expectedSize, demand, metadata = {}, tags = {} } = options;
  if (partSize !== undefined && !isWhole(partSize, MIN_PART_SIZE, MAX_PART_SIZE)) {
    throw invalid(`a part size of ${partSize} bytes is not between ${MIN_PART_SIZE} and ${MAX_PART_SIZE}`);
  }
  if (concurrency !== undefined && !isWhole(concurrency, 1, MAX_CONCURRENCY)) {
    throw invalid(`a concurrency of ${concurrency} is not between 1 and ${MAX_CONCURRENCY}`);
  }
  if (expectedSize !== undefined && !isWhole(expectedSize, 0, Number.MAX_SAFE_INTEGER)) {
    throw invalid(`an expected size of ${expectedSize} makes no sense`);
  }
  if (demand !== undefined && !VERIFICATION_LEVELS.includes(demand))
    throw invalid(`unknown verification level ${demand}`);
  if (demand === 'full' && options.checksum === false) throw invalid('full verification needs checksums');
  validateMetadata(metadata);
  if (Object.keys(tags).length > MAX_TAGS)
    throw invalid(`${Object.keys(tags).length} tags; S3 takes at most ${MAX_TAGS}`);
}

function validateMetadata(metadata: Record<string, string>): void {
  let bytes = 0;
  for (const [name, value] of Object.entries(metadata)) {
    if (!HEADER_NAME.test(name)) throw invalid(`${JSON.stringify(name)} cannot be the name of metadata`);
    if (OWN_METADATA.test(name)) throw invalid(`metadata named longshore-… belongs to Longshore: ${name}`);
    if (/[^\x20-\x7e]/.test(value))
      throw invalid(`the metadata ${name} has characters outside ASCII; encode it first`);
    bytes += name.length + value.length;
  }
  if (bytes > MAX_METADATA_BYTES)
    throw invalid(`${bytes} bytes of metadata; S3 takes at most ${MAX_METADATA_BYTES}`);
}

function isWhole(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}

/** No half of a surrogate pair stands alone. */
export function isWellFormed(text: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

// The workflow sandbox has neither Buffer nor TextEncoder, and core runs there too.
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}
