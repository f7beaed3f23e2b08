/** The same input has the same fingerprint, whatever the order of its fields. */
import { createHash } from 'node:crypto';
import { canonical } from '../core/canonical.js';
import type { UploadObjectInput } from '../core/uploads.js';

/**
 * SHA-256 of the canonical input, hex. `secret` stands for an address that was sealed: each seal has a name of its
 * own, the address behind it may be the same.
 */
export function fingerprint({ source, destination, options }: UploadObjectInput, secret?: string): string {
  const seen = source.kind === 'url' && source.sealed !== undefined ? { ...source, sealed: secret } : source;
  return createHash('sha256')
    .update(canonical({ source: seen, destination, options }))
    .digest('hex');
}
