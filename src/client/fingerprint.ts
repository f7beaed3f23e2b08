/** The same input has the same fingerprint, whatever the order of its fields. */
import { createHash } from 'node:crypto';
import { canonical } from '../core/canonical.js';
import type { Source, UploadObjectInput, UploadOptions } from '../core/uploads.js';

/**
 * SHA-256 of the canonical input, hex. `secret` stands for an address that was sealed: each seal has a name of its
 * own, the address behind it may be the same. A customer's key is told by its MD5.
 */
export function fingerprint({ source, destination, options }: UploadObjectInput, secret?: string): string {
  return createHash('sha256')
    .update(canonical({ source: seenSource(source, secret), destination, options: seenOptions(options) }))
    .digest('hex');
}

function seenSource(source: Source, secret: string | undefined): Source | object {
  if (source.kind === 'url' && source.sealed !== undefined) return { ...source, sealed: secret };
  if (source.kind !== 'object' || source.sealedKey === undefined) return source;
  return { ...source, sealedKey: source.sealedKey.keyMd5 };
}

function seenOptions(options: UploadOptions): UploadOptions | object {
  const { encryption } = options;
  if (encryption?.type !== 'SSE_C') return options;
  return { ...options, encryption: { type: encryption.type, keyMd5: encryption.keyMd5 } };
}
