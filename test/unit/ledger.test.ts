import { describe, expect, it } from 'vitest';
import { crcFromBase64, crcToBase64, Ledger } from '../../src/activities/ledger.js';

const MD5 = '"9e107d9d372bb6826bd81d3542a419d6"';

describe('Ledger', () => {
  it('comes back from its slice as it was', () => {
    const ledger = new Ledger();
    ledger.set(10_000, { etag: MD5, crc: 0xffffffff });
    ledger.set(1, { etag: MD5, crc: 0 });
    ledger.set(2, { etag: '"opaque-é-etag"', crc: 7 });
    ledger.set(3, { etag: MD5 });
    ledger.set(4, { etag: '9e107d9d372bb6826bd81d3542a419d6', crc: undefined });
    const back = Ledger.decode(ledger.encode());
    expect(back.parts()).toEqual([1, 2, 3, 4, 10_000]);
    for (const part of back.parts()) expect(back.get(part)).toEqual({ crc: undefined, ...ledger.get(part) });
  });

  it('merges slices, the later ones over the earlier', () => {
    const early = new Ledger();
    early.set(1, { etag: '"a"', crc: 1 });
    early.set(2, { etag: '"b"', crc: 2 });
    const late = new Ledger();
    late.set(2, { etag: '"c"', crc: 3 });
    const merged = Ledger.decode(early.encode(), undefined, late.encode());
    expect(merged.get(2)).toEqual({ etag: '"c"', crc: 3 });
    expect(merged.size).toBe(2);
  });

  it('takes 31 characters a part with an MD5 ETag and a CRC, so that 10,000 parts stay under 512 KiB', () => {
    const ledger = new Ledger();
    for (let part = 1; part <= 10_000; part++) ledger.set(part, { etag: MD5, crc: part });
    expect(ledger.encode().length).toBeLessThan(512 * 1024);
  });

  it('spells CRCs as S3 does', () => {
    expect(crcToBase64(0x3610a686)).toBe('NhCmhg==');
    expect(crcFromBase64('NhCmhg==')).toBe(0x3610a686);
  });
});
