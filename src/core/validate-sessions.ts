/** What a client says of the whole that it sent: whether it makes sense, and whether it is so. */
import { ERRORS, LongshoreError, type ErrorCode, type FailureView } from './errors.js';
import { MAX_PARTS } from './limits.js';
import type { CompleteAsk } from './sessions.js';

const CHECKSUM = /^crc32:[A-Za-z0-9+/]{6}==$/;

/** Throws InvalidInput. */
export function validateAsk({ chunks, size, checksum }: CompleteAsk): void {
  const invalid = (message: string) => new LongshoreError('InvalidInput', message, { op: 'complete' });
  if (chunks !== undefined && !(Number.isInteger(chunks) && chunks >= 1 && chunks <= MAX_PARTS)) {
    throw invalid(`${chunks} chunks are not between 1 and ${MAX_PARTS}`);
  }
  if (size !== undefined && !(Number.isSafeInteger(size) && size >= 0)) {
    throw invalid(`a size of ${size} bytes makes no sense`);
  }
  if (checksum !== undefined && !CHECKSUM.test(checksum)) {
    throw invalid('the checksum is not crc32: and four bytes in base64');
  }
}

/** Why this is not what the client says it sent; undefined when it is, as far as both are known. */
export function differenceOf(
  { chunks, size, checksum }: CompleteAsk,
  found: { size: number; parts?: number | undefined; crc32?: string | undefined },
): FailureView | undefined {
  const refused = (code: ErrorCode, message: string): FailureView => {
    return { code, message, op: 'complete', hint: ERRORS[code].hint };
  };
  if (size !== undefined && size !== found.size) {
    return refused('SizeMismatch', `${found.size} bytes are there, not ${size}`);
  }
  if (chunks !== undefined && found.parts !== undefined && chunks !== found.parts) {
    return refused('SizeMismatch', `${found.parts} chunks are there, not ${chunks}`);
  }
  if (checksum !== undefined && found.crc32 !== undefined && checksum !== `crc32:${found.crc32}`) {
    return refused('VerificationFailed', `the CRC32 of what is there is ${found.crc32}, not ${checksum}`);
  }
  return undefined;
}
