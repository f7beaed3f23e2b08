import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { assemble, recall, type Expected } from '../../src/activities/assemble.js';
import type { SessionPart } from '../../src/infra/catalog/session-parts.js';
import type { ListedPart } from '../../src/infra/s3/store.js';

const CHUNK = 10;
const bytes = randomBytes(25);

function crcOf(part: Buffer): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(part));
  return crc;
}

const pieces = [bytes.subarray(0, 10), bytes.subarray(10, 20), bytes.subarray(20)];
const rows: SessionPart[] = pieces.map((piece, index) => ({
  partNumber: index + 1,
  etag: `"etag-${index + 1}"`,
  crc32: crcOf(piece),
  size: piece.length,
  vouched: false,
  claim: 1,
}));
const listed: ListedPart[] = pieces.map((piece, index) => ({
  partNumber: index + 1,
  etag: `"etag-${index + 1}"`,
  size: piece.length,
}));
const known: Expected = { size: 25, chunkSize: CHUNK, minPartSize: 5 };
const unknown: Expected = { ...known, size: null };
const change = <T extends { partNumber: number }>(parts: T[], partNumber: number, to: Partial<T>): T[] =>
  parts.map((part) => (part.partNumber === partNumber ? { ...part, ...to } : part));
const said = (answer: ReturnType<typeof assemble>) => ('incomplete' in answer ? answer.incomplete : answer);

describe('chunks that make a whole', () => {
  it.each([
    ['of known size', known],
    ['of unknown size', unknown],
  ])('%s are joined with the checksum of the whole', (_what, expected) => {
    const answer = assemble(rows, listed, expected);
    expect(answer).toEqual({
      whole: {
        parts: listed.map(({ partNumber, etag }, at) => ({
          ...{ partNumber, etag },
          crc32: rows[at]?.crc32?.toString('base64'),
        })),
        ...{ size: 25, crc32: crcOf(bytes).toString('base64'), ours: true, bytesSent: 25 },
      },
    });
    expect({ whole: recall(rows) }).toEqual(answer);
  });

  it('take a vouched part as S3 has it, with the checksum that S3 has of it', () => {
    const vouched = change(rows, 2, { etag: 'etag-2', crc32: null, size: null, vouched: true });
    expect(assemble(vouched, listed, known)).toMatchObject({
      whole: { size: 25, ours: false, bytesSent: 15, parts: [{}, { etag: '"etag-2"' }, {}] },
    });
    expect(assemble(vouched, listed, known)).not.toHaveProperty('whole.crc32');
    const withCrc = change(listed, 2, { crc32: crcOf(pieces[1] as Buffer).toString('base64') });
    expect(assemble(vouched, withCrc, known)).toMatchObject({
      whole: { ours: false, crc32: crcOf(bytes).toString('base64') },
    });
  });

  it('take the same bytes under another ETag as S3 has them', () => {
    const crc32 = crcOf(pieces[1] as Buffer).toString('base64');
    const again = change(listed, 2, { etag: '"again"', crc32 });
    expect(assemble(rows, again, known)).toMatchObject({
      whole: { size: 25, ours: true, parts: [{}, { etag: '"again"', crc32 }, {}] },
    });
    const others = change(listed, 2, { etag: '"again"', crc32: 'AAAAAA==' });
    expect(said(assemble(rows, others, known))).toMatchObject({ missing: [1] });
  });

  it('leave out what nobody acknowledged beyond a known end', () => {
    const more = [...listed, { partNumber: 4, etag: '"x"', size: 3 }];
    expect(assemble(rows, more, known)).toMatchObject({ whole: { size: 25 } });
    expect(assemble(rows, more, { ...unknown, chunks: 3 })).toMatchObject({ whole: { size: 25 } });
  });
});

describe('chunks that do not', () => {
  it.each<[string, SessionPart[], ListedPart[]]>([
    ['has no row', rows.filter(({ partNumber }) => partNumber !== 2), listed],
    ['was never settled', change(rows, 2, { etag: null, crc32: null, size: null }), listed],
    ['is not in S3', rows, listed.filter(({ partNumber }) => partNumber !== 2)],
    ['is another in S3', rows, change(listed, 2, { etag: '"other"' })],
    ['has another size in S3', rows, change(listed, 2, { size: 9 })],
  ])('name one that %s', (_what, acknowledged, there) => {
    expect(said(assemble(acknowledged, there, known))).toMatchObject({ missing: [1], missingCount: 1 });
    expect(said(assemble(acknowledged, there, unknown))).toMatchObject({ missing: [1], missingCount: 1 });
  });

  it('tell those that S3 contradicts from those that nobody acknowledged', () => {
    const unsettled = change(rows, 1, { etag: null, crc32: null, size: null });
    const there = change(listed, 2, { etag: '"other"' }).slice(0, 2);
    expect(assemble(unsettled, there, known)).toMatchObject({
      incomplete: { missing: [0, 1, 2] },
      contradicted: [{ partNumber: 2 }, { partNumber: 3 }],
    });
  });

  it('name a vouched one of a wrong size', () => {
    const vouched = change(rows, 2, { crc32: null, size: null, vouched: true });
    const short = change(listed, 2, { size: 4 });
    const message = 'of a size that they cannot have: 1';
    expect(said(assemble(vouched, short, known))).toMatchObject({ missing: [1], message });
    expect(said(assemble(vouched, short, unknown))).toMatchObject({ missing: [1], message });
    // Where only the client knows, its parts may differ.
    expect(assemble(vouched, change(listed, 2, { size: 7 }), unknown)).toMatchObject({ whole: { size: 22 } });
  });

  it('ask for what S3 has beyond the last that was acknowledged, where nobody says where the end is', () => {
    const more = [...listed, { partNumber: 4, etag: '"x"', size: 3 }];
    expect(said(assemble(rows, more, unknown))).toMatchObject({ missing: [3], surplus: [3] });
  });

  it('name what was acknowledged beyond the end', () => {
    expect(said(assemble(rows, listed, { ...unknown, chunks: 2 }))).toEqual({
      ...{ missing: [], missingCount: 0, surplus: [2] },
      message: 'beyond the last chunk: 2',
    });
  });

  it('are named a hundred at most, and as ranges', () => {
    const expected = { ...known, size: 5000 };
    const some = rows.slice(0, 2).map((row, at) => ({ ...row, partNumber: at * 100 + 1 }));
    const there = listed.slice(0, 2).map((part, at) => ({ ...part, partNumber: at * 100 + 1 }));
    const answer = said(assemble(some, there, expected));
    expect(answer).toMatchObject({ missingCount: 498 });
    expect(answer).toHaveProperty('missing.length', 100);
    expect(answer).toHaveProperty('message', 'missing of 500 chunks: 1–99, 101–499');
  });

  it('are all of them when nothing came', () => {
    expect(said(assemble([], [], unknown))).toMatchObject({ missing: [0], missingCount: 1 });
    expect(said(assemble([], [], { ...known, size: 0 }))).toMatchObject({ missing: [0], missingCount: 1 });
  });
});
