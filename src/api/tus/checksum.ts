/** The checksum extension: `Upload-Checksum: <algorithm> <base64>` of the body of one request. */
import { createHash } from 'node:crypto';
import { crc32 } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import { TusError } from './errors.js';

export const ALGORITHMS = ['sha1', 'sha256', 'sha512', 'md5', 'crc32'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Checksum {
  algorithm: Algorithm;
  digest: Buffer;
}

const DIGEST_BYTES: Readonly<Record<Algorithm, number>> = {
  sha1: 20,
  sha256: 32,
  sha512: 64,
  md5: 16,
  crc32: 4,
};

/** Throws InvalidInput for a header that is none, or names an algorithm that is not offered. */
export function parseChecksum(header: string): Checksum {
  const [, name = '', text = ''] = /^(\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(header.trim()) ?? [];
  const algorithm = ALGORITHMS.find((known) => known === name.toLowerCase());
  if (algorithm === undefined) {
    throw new LongshoreError('InvalidInput', 'Upload-Checksum names no algorithm that is offered', {
      op: 'tus',
      hint: `Send one of ${ALGORITHMS.join(', ')}, a space, and the digest in base64.`,
    });
  }
  const digest = Buffer.from(text, 'base64');
  if (digest.byteLength === DIGEST_BYTES[algorithm]) return { algorithm, digest };
  const message = `a ${algorithm} digest has ${DIGEST_BYTES[algorithm]} bytes, that of Upload-Checksum ${digest.byteLength}`;
  throw new LongshoreError('InvalidInput', message, { op: 'tus' });
}

/** Sees the bytes one piece after another. */
export class Digester {
  readonly #hash;
  #crc = 0;

  constructor(private readonly expected: Checksum) {
    this.#hash = expected.algorithm === 'crc32' ? undefined : createHash(expected.algorithm);
  }

  update(bytes: Buffer): void {
    if (this.#hash === undefined) this.#crc = crc32(bytes, this.#crc);
    else this.#hash.update(bytes);
  }

  /** Throws with status 460 when these are other bytes. */
  check(): void {
    if (this.#digest().equals(this.expected.digest)) return;
    const message = `the bytes are not those of the ${this.expected.algorithm} in Upload-Checksum`;
    throw new TusError(460, 'ChunkDamaged', message, { op: 'tus' });
  }

  #digest(): Buffer {
    if (this.#hash !== undefined) return this.#hash.digest();
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(this.#crc >>> 0);
    return bytes;
  }
}
