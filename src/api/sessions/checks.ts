/** Checksums that a client gives with a body, and what came held against them. */
import { createHash, type Hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32c } from '@node-rs/crc32';
import { LongshoreError } from '../../core/errors.js';
import type { BodyChecks } from './service.js';

const HASHES = ['md5', 'sha1', 'sha256', 'sha512'] as const;
const HEADERS = {
  'content-md5': 'md5',
  'x-amz-checksum-crc32': 'crc32',
  'x-amz-checksum-crc32c': 'crc32c',
  'x-amz-checksum-sha1': 'sha1',
  'x-amz-checksum-sha256': 'sha256',
} as const;
/** RFC 9530's names; what it calls obsolete is still sent. */
const DIGESTS: Readonly<Record<string, keyof BodyChecks>> = {
  md5: 'md5',
  sha: 'sha1',
  'sha-256': 'sha256',
  'sha-512': 'sha512',
};
const LENGTHS: Readonly<Record<keyof BodyChecks, number>> = {
  crc32: 4,
  crc32c: 4,
  md5: 16,
  sha1: 20,
  sha256: 32,
  sha512: 64,
};

/** What the headers say of the body, base64. Throws InvalidInput for what is none, or is said twice and differs. */
export function checksOf(headers: IncomingHttpHeaders): BodyChecks {
  const checks: BodyChecks = {};
  const add = (name: keyof BodyChecks, value: string): void => {
    const canonical = Buffer.from(value, 'base64').toString('base64');
    if (canonical !== value || Buffer.from(value, 'base64').length !== LENGTHS[name]) {
      throw invalid(`the ${name} of the body is not ${LENGTHS[name]} bytes in base64`);
    }
    if (checks[name] !== undefined && checks[name] !== value)
      throw invalid(`two headers give another ${name}`);
    checks[name] = value;
  };
  for (const [header, name] of Object.entries(HEADERS)) {
    const value = headers[header];
    if (typeof value === 'string') add(name, value.trim());
  }
  const unknown = Object.keys(headers).find((name) => UNKNOWN.test(name));
  if (unknown !== undefined)
    throw invalid(`${unknown} is not looked at; send x-amz-checksum-crc32 or -sha256`);
  const digest = headers['content-digest'];
  if (digest !== undefined) for (const [name, value] of digestsOf(String(digest))) add(name, value);
  return checks;
}

/** One that is not looked at must not seem to be. */
const UNKNOWN = /^x-amz-checksum-(?!crc32$|crc32c$|sha1$|sha256$|algorithm$|type$)/;

/** A dictionary of byte sequences (RFC 8941); algorithms that are not known are left out, as RFC 9530 has it. */
function* digestsOf(text: string): Generator<[keyof BodyChecks, string]> {
  for (const member of text.split(',')) {
    const [, name = '', value] = /^\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):/.exec(member) ?? [];
    if (value === undefined) throw invalid('Content-Digest is no list of digests such as sha-256=:…:');
    const known = Object.hasOwn(DIGESTS, name) ? DIGESTS[name] : undefined;
    if (known !== undefined) yield [known, value];
  }
}

function invalid(message: string): LongshoreError {
  return new LongshoreError('InvalidInput', message, { op: 'request' });
}

/** Computes what was asked for, and nothing else. */
export class BodyDigest {
  readonly #hashes: (readonly [(typeof HASHES)[number], Hash])[];
  #crc32c = 0;

  constructor(private readonly checks: BodyChecks) {
    this.#hashes = HASHES.filter((name) => checks[name] !== undefined).map((name) => [
      name,
      createHash(name),
    ]);
  }

  update(piece: Buffer): void {
    for (const [, hash] of this.#hashes) hash.update(piece);
    if (this.checks.crc32c !== undefined) this.#crc32c = crc32c(piece, this.#crc32c);
  }

  /** Throws ChunkDamaged. `crc32`: base64, as it came. */
  verify(crc32: string): void {
    const { checks } = this;
    this.#compare('crc32', checks.crc32, crc32);
    if (checks.crc32c !== undefined) {
      const bytes = Buffer.allocUnsafe(4);
      bytes.writeUInt32BE(this.#crc32c);
      this.#compare('crc32c', checks.crc32c, bytes.toString('base64'));
    }
    for (const [name, hash] of this.#hashes) this.#compare(name, checks[name], hash.digest('base64'));
  }

  #compare(name: string, given: string | undefined, came: string): void {
    if (given === undefined || given === came) return;
    throw new LongshoreError('ChunkDamaged', `the ${name} ${given} was given, the bytes have ${came}`, {
      op: 'receive',
    });
  }
}
