/** What Uppy’s Companion client asks for, as a session. */
import { LongshoreError } from '../../core/errors.js';
import type { SessionAsk } from '../sessions/service.js';
import { given } from '../definition.js';

/** Of Companion’s requests `params` and `multipart`. */
export interface CompanionFile {
  filename: string;
  type: string | undefined;
  /** As the page gave it; names and values of any kind. */
  metadata: Readonly<Record<string, unknown>>;
}

/** Metadata that says what the file is and where it goes, as with tus; the rest is the object’s. */
const OURS = ['name', 'type', 'bucket', 'key', 'connector_id', 'node_id'] as const;

/** Throws InvalidInput. */
export function sessionAskOf(
  { filename, type, metadata }: CompanionFile,
  mode: 'chunks' | 'whole',
): SessionAsk {
  const { ours, rest } = sort(metadata);
  return {
    // Older plug-ins name the key here that they would choose: a random id before the name.
    name: ours.name ?? filename,
    mode,
    // The page sends parts without checksums, and a multipart upload that asks for them would refuse those.
    checksum: false,
    metadata: rest,
    ...given({
      contentType: type === undefined || type === '' ? ours.type : type,
      bucket: ours.bucket,
      key: ours.key,
      connectorId: ours.connector_id,
      nodeId: ours.node_id,
    }),
  };
}

type Ours = Partial<Record<(typeof OURS)[number], string>>;

function sort(metadata: Readonly<Record<string, unknown>>): { ours: Ours; rest: Record<string, string> } {
  const ours: Ours = {};
  const rest: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata)) {
    const text = textOf(name, value);
    if (text === undefined) continue;
    const known = OURS.find((each) => each === name);
    if (known === undefined) rest[nameOf(name)] = headerText(text);
    // An empty field of a form names nothing.
    else if (text !== '') ours[known] = text;
  }
  return { ours, rest };
}

/** Uppy says `null` of what a file has not, such as a relative path. */
function textOf(name: string, value: unknown): string | undefined {
  if (value === null || value === undefined || value === 'null' || value === 'undefined') return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw invalid(`the metadata ${JSON.stringify(name)} is no text`);
}

/** Names of headers have no case. */
function nameOf(name: string): string {
  const lower = name.toLowerCase();
  if (/^(?!longshore-)[a-z0-9][a-z0-9._-]{0,63}$/.test(lower)) return lower;
  throw invalid(`${JSON.stringify(name)} is no name for metadata of an object`);
}

/** Beyond ASCII as RFC 2047 has it, which is how Companion sends it and S3 shows it. */
function headerText(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`;
}

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, {
    op: 'request',
    hint: 'Choose with `allowedMetaFields` which fields of a file Uppy sends.',
  });
}
