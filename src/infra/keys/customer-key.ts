/** A key that a customer brings for SSE-C: S3 encrypts with it and forgets it. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { LongshoreError } from '../../core/errors.js';

export interface CustomerKey {
  /** 32 bytes. */
  key: Buffer;
  /** base64, as S3 has it: which key it is, not the key. */
  md5: string;
}

const KEY_BYTES = 32;
const BASE64 = /^[A-Za-z0-9+/]{43}=?$/;

export function md5Of(key: Buffer): string {
  return createHash('md5').update(key).digest('base64');
}

/** Throws InvalidInput unless it has 32 bytes, and Contradictory where `md5` (base64) is given and is not its MD5. */
export function customerKey(key: Buffer, md5?: string): CustomerKey {
  if (key.length !== KEY_BYTES)
    throw invalid(`a customer's key has ${KEY_BYTES} bytes, this one has ${key.length}`);
  const own = md5Of(key);
  if (md5 !== undefined && !isSame(own, md5))
    throw refused('Contradictory', 'the MD5 that came with the customer’s key is that of another key');
  return { key, md5: own };
}

/** From base64, as headers and JSON carry it. Throws InvalidInput or Contradictory. */
export function customerKeyFromBase64(text: string, md5?: string): CustomerKey {
  if (!BASE64.test(text)) throw invalid(`a customer's key is ${KEY_BYTES} bytes in base64`);
  return customerKey(Buffer.from(text, 'base64'), md5);
}

/** The content of a key file: 32 bytes as they are, or in base64 on one line. Throws InvalidInput. */
export function customerKeyFromFile(content: Buffer): CustomerKey {
  if (content.length === KEY_BYTES) return customerKey(content);
  const text = content.toString('latin1').trim();
  if (!BASE64.test(text)) throw invalid(`a key file holds ${KEY_BYTES} bytes, raw or in base64`);
  return customerKey(Buffer.from(text, 'base64'));
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function invalid(message: string): LongshoreError {
  return refused('InvalidInput', message);
}

// The message never holds what was given: it may be the key with a slip in it.
function refused(code: 'InvalidInput' | 'Contradictory', message: string): LongshoreError {
  return new LongshoreError(code, message, {
    op: 'readKey',
    hint: 'Make a key with `openssl rand 32 > key` and keep it: without it the object cannot be read.',
  });
}
