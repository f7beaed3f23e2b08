/** Where an upload goes, from `Upload-Metadata`. */
import { Metadata } from '@tus/server';
import { LongshoreError } from '../../core/errors.js';

export interface Asked {
  name: string;
  contentType?: string;
  bucket?: string;
  /** undefined: below its connector, under the id of its node. */
  key?: string;
  connectorId?: string;
}

const MAX_NAME_BYTES = 200;

/** `metadata` as the header has it. Throws InvalidInput. */
export function askedBy(
  metadata: string | undefined,
  id: string,
  kind: 'tus' | 'tus/partial' = 'tus',
): Asked {
  const fields = parse(metadata);
  const name = fields['filename'] ?? fields['name'] ?? '';
  const type = fields['filetype'] ?? fields['type'];
  const { bucket, connector_id: connectorId } = fields;
  // What is only a part of an object is none of the connector's.
  const ofConnector = kind === 'tus' && filled(connectorId) !== undefined;
  const key = filled(fields['key']) ?? (ofConnector ? undefined : `${kind}/${id}/${fileName(name)}`);
  return {
    name: name === '' ? id : name,
    ...(key === undefined ? {} : { key }),
    ...(filled(type) === undefined || !isMediaType(type as string) ? {} : { contentType: type as string }),
    ...(filled(bucket) === undefined ? {} : { bucket: bucket as string }),
    ...(filled(connectorId) === undefined ? {} : { connectorId: connectorId as string }),
  };
}

function parse(metadata: string | undefined): Record<string, string | null> {
  if (metadata === undefined || metadata.trim() === '') return {};
  try {
    return Metadata.parse(metadata);
  } catch (cause) {
    throw new LongshoreError('InvalidInput', 'Upload-Metadata is no list of keys and values in base64', {
      op: 'tus',
      cause,
    });
  }
}

function filled(value: string | null | undefined): string | undefined {
  return value === null || value === '' ? undefined : value;
}

/** Pages send whatever their browser guesses; what is no type is left out. */
function isMediaType(text: string): boolean {
  return /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(\s*;.*)?$/.test(text) && text.length <= 200;
}

/** The last part of a key: one step, readable, and short enough. */
export function fileName(name: string): string {
  const last = name.split(/[\\/]/).at(-1) ?? '';
  const plain = last.replace(/[\u0000-\u001f\u007f\ufffd]/g, '_').trim();
  if (plain === '' || plain === '.' || plain === '..') return 'file';
  return shortened(plain);
}

/** Keeps the extension, and cuts no character in two. */
function shortened(name: string): string {
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const extension = /\.[A-Za-z0-9]{1,10}$/.exec(name)?.[0] ?? '';
  let stem = '';
  for (const character of name) {
    if (Buffer.byteLength(stem + character + extension) > MAX_NAME_BYTES) break;
    stem += character;
  }
  return stem + extension;
}
