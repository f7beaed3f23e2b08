import { describe, expect, it, onTestFinished } from 'vitest';
import { startCountingSink } from '../helpers/counting-sink.js';
import { KeyTally } from '../helpers/key-tally.js';

const names = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `uploads/d${index % 97}/f${index}`);

describe('a tally of keys', () => {
  it('counts each key for itself', () => {
    const tally = new KeyTally(50_000);
    for (const name of names(50_000)) tally.add(name, 16);
    tally.add('uploads/d5/f5', 17);
    expect([tally.total, tally.distinct, tally.twice]).toEqual([50_001, 50_000, 1]);
    expect([tally.count('uploads/d5/f5'), tally.count('uploads/d6/f6'), tally.count('absent')]).toEqual([
      2, 1, 0,
    ]);
    expect([tally.size('uploads/d5/f5'), tally.size('uploads/d6/f6')]).toEqual([17, 16]);
  });

  it('has the same digest for the same keys in any order, and another for others', () => {
    const digestOf = (keys: string[]): string => {
      const tally = new KeyTally(keys.length);
      for (const key of keys) tally.add(key);
      return tally.digest;
    };
    const keys = names(1000);
    expect(digestOf([...keys, 'uploads/d1/f1'].reverse())).toBe(digestOf(keys));
    expect(digestOf([...keys.slice(1), 'uploads/d0/f1000'])).not.toBe(digestOf(keys));
  });

  it('refuses more keys than it has room for', () => {
    const tally = new KeyTally(2);
    tally.add('a');
    tally.add('b');
    tally.add('a');
    expect(() => tally.add('c')).toThrow(RangeError);
  });
});

describe('the counting sink', () => {
  it('takes objects, and says how often', async () => {
    const sink = await startCountingSink(10);
    onTestFinished(() => sink.close());
    const put = (key: string) =>
      fetch(`${sink.endpoint}/b/${key}`, {
        method: 'PUT',
        body: 'x'.repeat(16),
        headers: { 'x-amz-checksum-crc32': 'AAAAAA==' },
      });
    expect((await fetch(`${sink.endpoint}/b/one`, { method: 'HEAD' })).status).toBe(404);
    const answer = await put('one');
    expect([answer.status, answer.headers.get('x-amz-checksum-crc32')]).toEqual([200, 'AAAAAA==']);
    await Promise.all([put('one'), put('two')]);
    const head = await fetch(`${sink.endpoint}/b/one`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '16']);
    expect((await fetch(`${sink.endpoint}/b/one`)).status).toBe(501);
    const { puts, distinct, twice, heads, refused, firstAt } = sink.counts();
    expect({ puts, distinct, twice, heads, refused }).toEqual({
      puts: 3,
      distinct: 2,
      twice: 1,
      heads: 2,
      refused: 1,
    });
    expect(firstAt).toBeGreaterThan(0);
  });
});
