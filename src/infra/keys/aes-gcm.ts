/** AES-256-GCM, and the keys for it that LONGSHORE_SEALING_KEY gives: one for each use, so that no two share bytes. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';

export interface Sealed {
  nonce: Buffer;
  /** With the tag at its end. */
  ciphertext: Buffer;
}

const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `bound` is no secret, but must be the same when it is opened. */
export function encrypt(key: Buffer, plain: Buffer, bound: Buffer): Sealed {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(bound);
  return { nonce, ciphertext: Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]) };
}

/** Throws when anything of it was altered, or `bound` is another. */
export function decrypt(key: Buffer, { nonce, ciphertext }: Sealed, bound: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(bound)
    .setAuthTag(ciphertext.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(ciphertext.subarray(0, -TAG_BYTES)), decipher.final()]);
}

export type DeriveKey = (use: string, bytes?: number) => Buffer;

/** Throws InvalidConfig unless `sealingKey` is 32 bytes in base64. */
export function deriving(sealingKey: string | undefined, op: string): DeriveKey {
  const master = sealingKey === undefined ? undefined : Buffer.from(sealingKey, 'base64');
  if (master?.length !== KEY_BYTES) {
    const message =
      master === undefined ? 'there is no key to seal secrets with' : 'the sealing key has not 32 bytes';
    throw new LongshoreError('InvalidConfig', message, {
      op,
      hint: 'Set LONGSHORE_SEALING_KEY to 32 random bytes in base64 (`openssl rand -base64 32`), the same everywhere.',
    });
  }
  return (use, bytes = KEY_BYTES) =>
    Buffer.from(hkdfSync('sha256', master, Buffer.alloc(0), `longshore/${use}`, bytes));
}
