/**
 * The ledger: what we sent, part by part. A slice of it travels through history as an opaque base64 string of about
 * 31 characters a part. Only activities read it; workflow code passes it on.
 *
 * Entry: part number (u16), flags (u8), CRC32 (u32, flag 1), ETag (16 bytes where it is a quoted MD5, flag 2;
 * otherwise its length as u16 and its characters).
 */
const HAS_CRC = 1;
const MD5_ETAG = 2;
const MD5_PATTERN = /^"[0-9a-f]{32}"$/;

export interface LedgerEntry {
  etag: string;
  /** CRC32 of our bytes; of a copied part, the server's own. Absent with checksums off. */
  crc?: number | undefined;
}

export class Ledger {
  private readonly entries = new Map<number, LedgerEntry>();

  static decode(...slices: readonly (string | undefined)[]): Ledger {
    const ledger = new Ledger();
    for (const slice of slices) if (slice !== undefined) ledger.read(Buffer.from(slice, 'base64'));
    return ledger;
  }

  get size(): number {
    return this.entries.size;
  }

  get(part: number): LedgerEntry | undefined {
    return this.entries.get(part);
  }

  set(part: number, entry: LedgerEntry): void {
    this.entries.set(part, entry);
  }

  /** Part numbers in rising order. */
  parts(): number[] {
    return [...this.entries.keys()].sort((a, b) => a - b);
  }

  encode(): string {
    return Buffer.concat(
      this.parts().map((part) => encodeEntry(part, this.entries.get(part) as LedgerEntry)),
    ).toString('base64');
  }

  private read(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.readUInt16BE(at);
      const flags = bytes.readUInt8(at + 2);
      at += 3;
      const crc = (flags & HAS_CRC) === 0 ? undefined : bytes.readUInt32BE(at);
      if (crc !== undefined) at += 4;
      const md5 = (flags & MD5_ETAG) !== 0;
      const length = md5 ? 16 : bytes.readUInt16BE(at);
      if (!md5) at += 2;
      const raw = bytes.subarray(at, at + length);
      at += length;
      this.entries.set(part, { etag: md5 ? `"${raw.toString('hex')}"` : raw.toString('latin1'), crc });
    }
  }
}

function encodeEntry(part: number, { etag, crc }: LedgerEntry): Buffer {
  const md5 = MD5_PATTERN.test(etag);
  const tag = md5 ? Buffer.from(etag.slice(1, -1), 'hex') : Buffer.from(etag, 'latin1');
  const head = Buffer.alloc(3 + (crc === undefined ? 0 : 4) + (md5 ? 0 : 2));
  head.writeUInt16BE(part, 0);
  head.writeUInt8((crc === undefined ? 0 : HAS_CRC) | (md5 ? MD5_ETAG : 0), 2);
  if (crc !== undefined) head.writeUInt32BE(crc, 3);
  if (!md5) head.writeUInt16BE(tag.length, head.length - 2);
  return Buffer.concat([head, tag]);
}

/** A CRC32 as S3 spells it: base64 of four bytes, most significant first. */
export function crcToBase64(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

export function crcFromBase64(text: string): number {
  return Buffer.from(text, 'base64').readUInt32BE(0);
}
